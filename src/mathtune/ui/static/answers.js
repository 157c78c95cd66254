// The problem table: one page of rows at a time, filtered and searched by the server.
import { byId, count, fault, later, make, read, setOptions, solution } from "./common.js";

const LABELS = { all: "All", gained: "Gained", lost: "Lost", flipped: "Flipped", right: "Right", wrong: "Wrong" };
const words = (name) => name.replaceAll("_", " ");

export function answers(roles) {
  const fresh = { show: "all", outcome: "", error: "", disagree: "0", q: "", sort: "", page: 0 };
  let asked = { ...fresh };
  let files = [];
  let names = [];
  let page = null;
  let turn = 0;

  async function load() {
    const mine = ++turn;
    byId("list").setAttribute("aria-busy", "true");
    if (!page) byId("status").textContent = "Reading the predictions …";
    try {
      const found = await read("/api/answers", { ...asked, file: files, name: names });
      if (mine !== turn) return; // a later question was asked meanwhile
      page = found;
      draw();
    } catch (error) {
      fault(error);
      byId("status").textContent = "";
    }
    byId("list").removeAttribute("aria-busy");
  }

  const role = (side) => roles(side, page.names.length);
  const modelName = (side) => make("span", { class: `model ${role(side)}` }, page.names[side]);

  function draw() {
    const both = page.names.length > 1;
    byId("show").replaceChildren(...Object.entries(page.counts).map(([name, n]) => {
      const label = both && (name === "right" || name === "wrong") ? `${page.names.length === 2 ? "Both" : "All"} ${name}` : LABELS[name];
      const button = make("button", { type: "button", "data-show": name, "aria-pressed": String(name === asked.show) }, `${label} ${count(n)}`);
      button.addEventListener("click", () => change({ show: name }));
      return button;
    }));
    choose("outcome", page.outcomes);
    choose("error", page.errors);
    byId("order").closest("label").hidden = !page.samples;
    const heads = ["", "Problem", "Gold", ...page.names.map((_, side) => modelName(side))];
    const kinds = ["number", "", "gold"];
    byId("columns").replaceChildren(...heads.map((head, index) => make("th", { scope: "col", role: "columnheader", class: kinds[index] ?? "given" }, head)));
    byId("list").replaceChildren(...page.rows.map((row, index) => line(row, page.first + index + 1)));
    const left = page.unreadable ? `; ${count(page.unreadable)} lines that are not rows were left out` : "";
    byId("status").textContent = (page.total ? `${count(page.first + 1)}–${count(page.first + page.rows.length)} of ${count(page.total)}` : "No problem fits.") + left;
    byId("previous").disabled = page.number === 0;
    byId("next").disabled = page.number + 1 >= page.pages;
    byId("expand").disabled = !page.rows.length;
    byId("expand").textContent = "Open all on this page";
  }

  function choose(id, kinds) {
    const options = kinds.map(([side, name]) => [`${side}:${name}`, page.names.length > 1 ? `${page.names[side]}: ${words(name)}` : words(name)]);
    byId(id).closest("label").hidden = options.length === 0;
    setOptions(byId(id), [["", "any"], ...options], asked[id]);
  }

  function line(row, number) {
    const button = make("button", { type: "button", class: "open", "aria-expanded": "false" }, make("span", { class: "short" }, row.question || "(no question)"));
    const tags = [row.type, row.steps ? `${row.steps} step${row.steps === 1 ? "" : "s"}` : "", page.samples ? `sample ${row.sample + 1}` : ""].filter(Boolean).join(" · ");
    const node = make("tr", { role: "row" },
      make("td", { role: "cell", class: "number" }, count(number)),
      make("td", { role: "cell" }, button, make("span", { class: "tags" }, tags)),
      make("td", { role: "cell", "data-label": "Gold", class: "gold" }, row.gold),
      ...row.answers.map((answer, side) => make("td", { role: "cell", "data-label": page.names[side], class: "given" }, mark(answer))));
    node.setOpen = (open) => {
      if ((button.getAttribute("aria-expanded") === "true") === open) return;
      button.setAttribute("aria-expanded", String(open));
      if (open) node.after(detail(row));
      else node.nextSibling.remove();
    };
    button.addEventListener("click", () => node.setOpen(button.getAttribute("aria-expanded") === "false"));
    return node;
  }

  function mark(answer) {
    if (!answer) return "—";
    const kind = answer.correct ? "right" : words(answer.error || answer.outcome || "wrong");
    const rate = answer.pass_rate ? make("small", { class: "rate" }, `solved ${answer.pass_rate[0]} of ${answer.pass_rate[1]} `, make("meter", { min: 0, max: answer.pass_rate[1], value: answer.pass_rate[0], "aria-label": "Pass rate" })) : null;
    const split = answer.disagree ? ", graders disagree" : "";
    return make("span", { class: "mark" }, make("b", { "aria-hidden": "true" }, answer.correct ? "✓" : "✗"), answer.extracted ?? "", make("small", {}, kind + split), rate);
  }

  function detail(row) {
    const gold = make("div", { class: "answer solution" }, make("p", {}, "Gold solution"), solution(row.solution));
    const all = row.answers.map((answer, side) => answer && make("div", { class: `answer ${role(side)}` },
      make("p", {}, modelName(side)), solution(answer.text), make("p", { class: "why" }, why(answer)))).filter(Boolean);
    return make("tr", { role: "row", class: "detail" }, make("td", { role: "cell", colspan: String(3 + page.names.length) },
      make("blockquote", { class: "question" }, row.question), make("div", { class: "answers" }, gold, ...all)));
  }

  function why(answer) {
    const made = answer.inserted ? `, ${answer.inserted} by the calculator` : "";
    return [answer.reason, answer.tokens === null || answer.tokens === undefined ? "" : `${answer.tokens} tokens${made}`, answer.ending,
      answer.graders.map(([name, ok]) => `${name} ${ok ? "✓" : "✗"}`).join(", ")].filter(Boolean).join(" · ");
  }

  function change(part) {
    asked = { ...asked, page: 0, ...part };
    fault(null);
    load();
  }

  for (const id of ["outcome", "error"]) byId(id).addEventListener("change", () => change({ [id]: byId(id).value }));
  byId("order").addEventListener("change", () => change({ sort: byId("order").value }));
  byId("disagree").addEventListener("change", () => change({ disagree: byId("disagree").checked ? "1" : "0" }));
  byId("search").addEventListener("input", later(() => change({ q: byId("search").value }), 250));
  const turnTo = (by) => { change({ page: page.number + by }); byId("problems").scrollIntoView(); };
  byId("previous").addEventListener("click", () => turnTo(-1));
  byId("next").addEventListener("click", () => turnTo(1));
  byId("expand").addEventListener("click", () => {
    const lines = [...byId("list").children].filter((node) => node.setOpen);
    const open = lines.some((node) => node.querySelector("button").getAttribute("aria-expanded") === "false");
    for (const node of lines) node.setOpen(open);
    byId("expand").textContent = open ? "Close all on this page" : "Open all on this page";
  });

  return {
    choose(newFiles, newNames) {
      files = newFiles;
      names = newNames;
      page = null;
      change({ ...fresh, q: byId("search").value });
    },
    show: (name) => change({ show: name }),
  };
}
