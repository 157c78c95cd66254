// The theme button and the table of problems. Texts reach the page through textContent only.
"use strict";
{
  const PAGE = 25;
  const byId = (id) => document.getElementById(id);

  function make(tag, attributes, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) node.setAttribute(name, value);
    node.append(...children); // strings become text nodes
    return node;
  }

  // Theme: follows the system until the reader presses the button.
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const themeButton = byId("theme");
  const isDark = () => (document.documentElement.dataset.theme || (dark.matches ? "dark" : "light")) === "dark";
  const nameTheme = () => { themeButton.textContent = isDark() ? "Light theme" : "Dark theme"; };
  themeButton.hidden = false;
  themeButton.addEventListener("click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    nameTheme();
  });
  dark.addEventListener("change", nameTheme);
  nameTheme();

  // Print what is collapsed on a screen.
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("details:not([open])")];
    for (const details of folded) details.open = true;
  });
  addEventListener("afterprint", () => { for (const details of folded) details.open = false; });

  if (byId("rows")) browse(JSON.parse(byId("rows").textContent));

  function browse(data) {
    const { sets, models, problems } = data;
    const rows = data.rows.map((row) => {
      const [question, answer, gold, type, steps] = problems[row.problem];
      return { ...row, question, answer, gold, type, steps };
    });
    const last = models[models.length - 1];
    const both = models.length === 2;
    const right = (row, model) => Boolean(row[model] && row[model].correct);
    const filters = both
      ? {
          all: ["All", () => true],
          gained: ["Gained", (row) => row.base && row.tuned && !right(row, "base") && right(row, "tuned")],
          lost: ["Lost", (row) => row.base && row.tuned && right(row, "base") && !right(row, "tuned")],
          right: ["Both right", (row) => right(row, "base") && right(row, "tuned")],
          wrong: ["Both wrong", (row) => row.base && row.tuned && !right(row, "base") && !right(row, "tuned")],
        }
      : {
          all: ["All", () => true],
          right: ["Right", (row) => right(row, last)],
          wrong: ["Wrong", (row) => !right(row, last)],
        };
    const samples = rows.some((row) => row.sample > 0);

    const option = (value, text) => make("option", { value }, text);
    const choose = (id, options) => {
      byId(id).append(...options);
      byId(id).closest("label").hidden = options.length < 2;
    };
    choose("set", [...sets.map((name, index) => option(String(index), name)), ...(sets.length > 1 ? [option("all", "all sets")] : [])]);
    const settings = [...new Set(rows.map((row) => row.calculator))];
    choose("calculator", [...settings.map((on) => option(on ? "on" : "off", on ? "on" : "off")), ...(settings.length > 1 ? [option("both", "on and off")] : [])]);
    const errors = [...new Set(rows.flatMap((row) => models.map((model) => row[model] && row[model].error).filter(Boolean)))].sort();
    choose("error", [option("any", "any"), ...errors.flatMap((kind) => models.map((model) => option(`${model}:${kind}`, `${model}: ${kind.replaceAll("_", " ")}`)))]);
    const buttons = Object.fromEntries(Object.keys(filters).map((name) => [name, make("button", { type: "button", "data-show": name })]));
    byId("show").append(...Object.values(buttons));

    const heads = ["", "Problem", "Gold", ...models.map((model) => make("span", { class: `model ${model}` }, model))];
    byId("columns").append(...heads.map((head, index) => make("th", { scope: "col", role: "columnheader", class: ["number", "", "gold", "given", "given"][index] }, head)));

    // The view is part of the address, so that it can be linked to.
    const fresh = { show: "all", set: "0", calculator: byId("calculator").value, error: "any", q: "" };
    let state = { ...fresh };
    let page = 0;
    let shown = [];

    function readAddress() {
      if (!location.hash.startsWith("#show=")) return false;
      const given = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
      for (const name of Object.keys(fresh)) state[name] = given[name] ?? fresh[name];
      if (!Object.hasOwn(filters, state.show)) state.show = "all";
      for (const id of ["set", "calculator", "error"]) {
        byId(id).value = state[id];
        if (byId(id).selectedIndex < 0) byId(id).value = state[id] = fresh[id];
      }
      byId("search").value = state.q;
      return true;
    }

    function writeAddress() {
      const changed = Object.entries(state).filter(([name, value]) => name === "show" || value !== fresh[name]);
      history.replaceState(null, "", `#${new URLSearchParams(changed)}`);
    }

    const texts = new WeakMap(); // lower-cased on the first search only
    function haystack(row) {
      if (!texts.has(row)) {
        const parts = [row.question, row.type, row.gold, ...models.map((model) => (row[model] ? row[model].completion : "") || "")];
        texts.set(row, parts.join("\n").toLowerCase());
      }
      return texts.get(row);
    }

    function filter() {
      const query = state.q.trim().toLowerCase();
      const [model, kind] = state.error.split(/:(.*)/s);
      const inScope = rows.filter((row) =>
        (state.set === "all" || row.set === Number(state.set)) &&
        (state.calculator === "both" || row.calculator === (state.calculator === "on")) &&
        (state.error === "any" || (row[model] && row[model].error === kind)) &&
        (!query || haystack(row).includes(query)));
      for (const [name, [label, test]] of Object.entries(filters)) {
        buttons[name].textContent = `${label} ${inScope.filter(test).length.toLocaleString("en")}`;
        buttons[name].setAttribute("aria-pressed", String(name === state.show));
      }
      shown = inScope.filter(filters[state.show][1]);
      page = 0;
      draw();
    }

    function draw() {
      const start = page * PAGE;
      const part = shown.slice(start, start + PAGE);
      byId("list").replaceChildren(...part.map((row, index) => summary(row, start + index + 1)));
      byId("status").textContent = shown.length
        ? `${(start + 1).toLocaleString("en")}–${(start + part.length).toLocaleString("en")} of ${shown.length.toLocaleString("en")}`
        : "No problem fits.";
      byId("previous").disabled = page === 0;
      byId("next").disabled = start + PAGE >= shown.length;
      byId("expand").disabled = !part.length;
      byId("expand").textContent = "Open all on this page";
    }

    function summary(row, number) {
      const button = make("button", { type: "button", class: "open", "aria-expanded": "false" }, make("span", { class: "short" }, row.question));
      const tags = [
        row.type,
        row.steps ? `${row.steps} step${row.steps === 1 ? "" : "s"}` : "",
        state.set === "all" ? sets[row.set] : "",
        state.calculator === "both" ? `calculator ${row.calculator ? "on" : "off"}` : "",
        samples ? `sample ${row.sample + 1}` : "",
      ].filter(Boolean).join(" · ");
      const line = make("tr", { role: "row" },
        make("td", { role: "cell", class: "number" }, number.toLocaleString("en")),
        make("td", { role: "cell" }, button, make("span", { class: "tags" }, tags)),
        make("td", { role: "cell", "data-label": "Gold", class: "gold" }, row.gold),
        ...models.map((model) => make("td", { role: "cell", "data-label": model, class: "given" }, mark(row[model]))));
      button.addEventListener("click", () => toggle(line, row, button.getAttribute("aria-expanded") === "false"));
      line.setOpen = (open) => toggle(line, row, open);
      return line;
    }

    function toggle(line, row, open) {
      const button = line.querySelector("button");
      if ((button.getAttribute("aria-expanded") === "true") === open) return;
      button.setAttribute("aria-expanded", String(open));
      if (open) line.after(detail(row));
      else line.nextSibling.remove();
    }

    function mark(answer) {
      const cell = make("span", { class: "mark" });
      if (!answer) return cell.append("—"), cell;
      const given = answer.extracted === undefined ? "" : answer.extracted;
      cell.append(make("b", { "aria-hidden": "true" }, answer.correct ? "✓" : "✗"), given);
      const kind = answer.correct ? "right" : (answer.error || answer.outcome || "wrong").replaceAll("_", " ");
      cell.append(make("small", {}, kind));
      return cell;
    }

    function detail(row) {
      const gold = make("div", { class: "answer solution" }, make("p", {}, "Gold solution"), solution(row.answer));
      const given = models.filter((model) => row[model]).map((model) =>
        make("div", { class: `answer ${model}` },
          make("p", {}, make("span", { class: `model ${model}` }, model)),
          solution((row[model].completion || "").trim()),
          make("p", { class: "why" }, why(row[model]))));
      return make("tr", { role: "row", class: "detail" },
        make("td", { role: "cell", colspan: String(3 + models.length) },
          make("blockquote", { class: "question" }, row.question),
          make("div", { class: "answers" }, gold, ...given)));
    }

    function why(answer) {
      const graders = Object.entries(answer.published).map(([name, ok]) => `${data.graders[name] || name} ${ok ? "✓" : "✗"}`);
      const made = answer.inserted_tokens ? `, ${answer.inserted_tokens} by the calculator` : "";
      return [
        answer.reason,
        answer.tokens === undefined ? "" : `${answer.tokens} tokens${made}`,
        data.endings[answer.stop_reason] || answer.stop_reason,
        graders.join(", "),
      ].filter(Boolean).join(" · ");
    }

    function solution(text) {
      // Calculator annotations are dimmed, the final answer line is highlighted.
      const pieces = text.split(/(<<[^<>\n]*>>|^#### .*$)/m).map((piece, index) =>
        index % 2 ? make("span", { class: piece.startsWith("<<") ? "calc" : "final" }, piece) : piece);
      return make("pre", {}, ...(text ? pieces : ["(empty)"]));
    }

    function change(part) {
      Object.assign(state, part);
      writeAddress();
      filter();
    }
    for (const id of ["set", "calculator", "error"]) byId(id).addEventListener("change", () => change({ [id]: byId(id).value }));
    for (const [name, button] of Object.entries(buttons)) button.addEventListener("click", () => change({ show: name }));
    let waiting;
    byId("search").addEventListener("input", () => {
      clearTimeout(waiting);
      waiting = setTimeout(() => change({ q: byId("search").value }), 120);
    });
    const turn = (by) => { page += by; draw(); byId("browser").scrollIntoView(); };
    byId("previous").addEventListener("click", () => turn(-1));
    byId("next").addEventListener("click", () => turn(1));
    byId("expand").addEventListener("click", () => {
      const lines = [...byId("list").children].filter((line) => line.setOpen);
      const open = lines.some((line) => line.querySelector("button").getAttribute("aria-expanded") === "false");
      for (const line of lines) line.setOpen(open);
      byId("expand").textContent = open ? "Close all on this page" : "Open all on this page";
    });
    const follow = () => { if (readAddress()) { filter(); byId("problems").scrollIntoView(); } };
    addEventListener("hashchange", follow);

    byId("browser").hidden = false;
    const linked = readAddress();
    filter();
    if (linked) byId("problems").scrollIntoView();
  }
}
