import { answers } from "./answers.js";
import { byId, drawCharts, fault, given, read, repeat, send, setOptions, state } from "./common.js";

const id = byId("run").dataset.id;
let run = given("run", "run");
const settings = given("run", "settings");
const wasRunning = run.status === "running";
let shownCharts = "";

async function live() {
  const [now, curves] = await Promise.all([read("/api/run", { run: id }), read("/api/curves", { run: id })]);
  run = now;
  byId("state").replaceChildren(state(run));
  byId("share").hidden = run.share === null;
  if (run.share !== null) byId("share").value = run.share;
  byId("stop").hidden = !run.own;
  byId("continue").hidden = run.status === "running" || run.status === "finished";
  byId("reload").hidden = !(wasRunning && run.status !== "running");
  byId("reload").href = location.pathname;
  byId("console-part").hidden = !run.console;
  const end = byId("console");
  if (end.textContent !== run.console) {
    const atEnd = end.scrollTop + end.clientHeight >= end.scrollHeight - 20;
    end.textContent = run.console;
    if (atEnd) end.scrollTop = end.scrollHeight;
  }
  const text = JSON.stringify(curves.charts);
  if (text !== shownCharts) drawCharts(byId("live-charts"), curves.charts);
  shownCharts = text;
  byId("live-none").hidden = curves.charts.length > 0;
}

const again = repeat(live, () => (run.status === "running" ? 2 : 8));

async function ask(address, button) {
  button.disabled = true;
  try {
    await send(address, { run: id });
    fault(null);
    if (address === "/api/stop") byId("state").textContent = "stopping: it saves its work first";
  } catch (error) {
    fault(error);
  }
  setTimeout(() => { button.disabled = false; again(); }, 1000);
}
byId("stop").addEventListener("click", () => ask("/api/stop", byId("stop")));
byId("continue").addEventListener("click", () => ask("/api/continue", byId("continue")));

if (settings.length) {
  const table = answers((side, n) => (n === 2 ? ["base", "tuned"][side] : settings[Number(byId("setting").value)].files[side].name));
  setOptions(byId("setting"), settings.map(({ label }, index) => [String(index), label]));
  byId("setting-label").hidden = settings.length < 2;
  const choose = () => {
    const { files } = settings[Number(byId("setting").value)];
    table.choose(files.map((file) => file.id), files.map((file) => file.name));
  };
  byId("setting").addEventListener("change", choose);
  choose();
  // The report's own links, as in report.html.
  const follow = () => {
    const show = new URLSearchParams(location.hash.slice(1)).get("show");
    if (show) { table.show(show); byId("problems").scrollIntoView(); }
  };
  addEventListener("hashchange", follow);
  follow();
}
