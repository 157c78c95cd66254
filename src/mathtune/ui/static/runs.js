import { ago, byId, drawCharts, fault, given, later, make, read, repeat, state } from "./common.js";

const most = given("runs", "most");
let page = given("runs", "first");
let asked = { q: "", sort: "changed", page: 0 };
let chosen = [];
let shownCharts = "";
const note = byId("curves-note").textContent;

function line(run) {
  const index = chosen.indexOf(run.id);
  const box = make("input", { type: "checkbox", "aria-label": `Show the curves of ${run.name}`, checked: index >= 0, disabled: index < 0 && chosen.length >= most });
  box.addEventListener("change", () => {
    chosen = box.checked ? [...chosen, run.id] : chosen.filter((id) => id !== run.id);
    drawList();
    curves();
  });
  const rates = [];
  for (const model of ["base", "tuned"]) {
    if (!run.rates[model]) continue;
    if (rates.length) rates.push(" → ");
    rates.push(make("span", { class: `model ${model}`, title: model }, run.rates[model]));
  }
  const progress = run.share === null ? null : make("progress", { max: 1, value: run.share, "aria-label": `Done of this stage: ${Math.round(100 * run.share)} %` });
  const about = [run.recipe && run.recipe !== run.name ? run.recipe : "", run.base].filter(Boolean).join(" · ");
  return make("tr", { role: "row", class: index >= 0 ? `chosen run-${index + 1}` : "" },
    make("td", { role: "cell",  class: "pick" }, box),
    make("td", { role: "cell",  class: "name" }, make("a", { href: `/run/${run.id}` }, run.name), make("small", {}, about)),
    make("td", { role: "cell",  class: "rates", "data-label": "Exact match" }, ...(rates.length ? rates : ["—"])),
    make("td", { role: "cell",  class: "difference", "data-label": "Difference" }, make("b", {}, run.difference), run.interval === "—" ? null : make("small", {}, run.interval)),
    make("td", { role: "cell",  class: "state", "data-label": "Status" }, state(run), progress),
    make("td", { role: "cell",  class: "when", "data-label": "Changed" }, make("time", { datetime: run.changed, title: run.changed }, ago(run.changed))),
    run.verdict ? make("td", { role: "cell",  class: "verdict-line" }, run.verdict) : null);
}

function drawList() {
  const focused = document.activeElement?.getAttribute("aria-label");
  byId("list").replaceChildren(...page.runs.map(line));
  if (focused) [...byId("list").querySelectorAll("input")].find((box) => box.getAttribute("aria-label") === focused)?.focus();
  const from = page.number * 25;
  byId("status").textContent = page.total ? `${from + 1}–${from + page.runs.length} of ${page.total.toLocaleString("en")}` : "";
  byId("to-curves").hidden = !chosen.length;
  byId("to-curves").textContent = `Curves of ${chosen.length === 1 ? "1 run" : `${chosen.length} runs`}`;
  byId("previous").disabled = page.number === 0;
  byId("next").disabled = page.number + 1 >= page.pages;
  byId("none").hidden = page.total > 0;
  byId("none").textContent = asked.q ? "No run fits." : "There is no run folder yet. Start one on the page Train, or with: mathtune run demo";
}

async function list() {
  page = await read("/api/runs", asked);
  drawList();
}

async function curves() {
  if (!chosen.length) {
    byId("charts").replaceChildren();
    byId("legend").replaceChildren();
    byId("curves-note").hidden = false;
    byId("curves-note").textContent = note;
    shownCharts = "";
    return;
  }
  const found = await read("/api/curves", { run: chosen });
  byId("legend").replaceChildren(...found.runs.map((run, index) =>
    make("li", {}, make("span", { class: `swatch run-${index + 1}`, "aria-hidden": "true" }), make("a", { href: `/run/${run.id}` }, run.name), " ", run.status === "finished" ? null : state(run))));
  const now = JSON.stringify(found.charts);
  if (now !== shownCharts) drawCharts(byId("charts"), found.charts); // a tooltip stays while nothing is new
  shownCharts = now;
  byId("curves-note").hidden = found.charts.length > 0;
  byId("curves-note").textContent = chosen.length ? "The chosen runs have logged nothing." : note;
}

const again = repeat(async () => { await list(); await curves(); }, () => (page.runs.some((run) => run.status === "running") ? 2 : 8));
const change = (part) => { asked = { ...asked, page: 0, ...part }; list().catch(fault); };
byId("search").addEventListener("input", later(() => change({ q: byId("search").value }), 150));
byId("sort").addEventListener("change", () => change({ sort: byId("sort").value }));
byId("previous").addEventListener("click", () => change({ page: page.number - 1 }));
byId("next").addEventListener("click", () => change({ page: page.number + 1 }));

chosen = page.runs.filter((run) => run.status === "running").slice(0, most).map((run) => run.id);
if (!chosen.length && page.runs.length) chosen = [page.runs[0].id];
drawList();
again();
