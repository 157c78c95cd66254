// What every page uses. Texts reach the page as text nodes only; no markup is ever parsed.
export const byId = (id) => document.getElementById(id);
export const given = (id, name) => JSON.parse(byId(id).dataset[name]);

export function make(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

export function setOptions(select, options, chosen) {
  select.replaceChildren(...options.map(([value, text]) => make("option", { value }, text)));
  if (chosen !== undefined) select.value = chosen;
  if (select.selectedIndex < 0) select.selectedIndex = 0;
}

// A drawing of the server, as [tag, attributes, text, children].
const DRAWN = new Set(["svg", "title", "desc", "g", "line", "path", "circle", "text", "rect"]);
export function draw([tag, attributes, text, children]) {
  if (!DRAWN.has(tag)) throw new Error(`a drawing has no ${tag}`);
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text) node.append(text);
  node.append(...children.map(draw));
  return node;
}

export function drawCharts(place, charts) {
  place.replaceChildren(...charts.map(({ title, svg }) => make("figure", {}, make("figcaption", {}, title), draw(svg))));
}

export class Refused extends Error {
  constructor(faults) {
    super(faults.join("\n"));
    this.faults = faults;
  }
}

async function answerOf(response) {
  if (response.ok) return response;
  const text = await response.text();
  let faults = [text.slice(0, 500)];
  try { faults = JSON.parse(text).faults; } catch { /* not one of our answers */ }
  throw new Refused(faults);
}

export async function read(address, asked = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(asked)) for (const one of [value].flat()) query.append(name, one);
  const response = await answerOf(await fetch(`${address}?${query}`, { credentials: "same-origin" }));
  return response.json();
}

const post = (address, value, signal) => fetch(address, {
  method: "POST", body: JSON.stringify(value), credentials: "same-origin", signal,
});

export async function send(address, value) {
  return (await answerOf(await post(address, value))).json();
}

// Events of a worker as they come; ends when the last has come or the signal says so.
export async function* stream(value, signal) {
  const response = await answerOf(await post("/api/stream", value, signal));
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value: part } = await reader.read();
    if (done) return;
    const lines = (rest + part).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      const event = JSON.parse(line);
      if (event.event === "failed") throw new Refused(event.faults);
      yield event;
    }
  }
}

// One line at the top of the page; the next success clears it.
export function fault(error) {
  const place = byId("fault");
  place.hidden = !error;
  place.textContent = !error ? "" : error instanceof Refused ? error.message
    : error instanceof TypeError ? "The server does not answer. If it has ended, start mathtune ui again; trainings go on without it."
      : String(error);
}

// Calls again and again, slowly where nobody looks.
export function repeat(work, seconds) {
  let timer;
  const next = async () => {
    clearTimeout(timer);
    if (!document.hidden) {
      try {
        await work();
        if (byId("fault").dataset.from === "repeat") { fault(null); byId("fault").dataset.from = ""; }
      } catch (error) {
        fault(error);
        byId("fault").dataset.from = "repeat";
      }
    }
    timer = setTimeout(next, 1000 * seconds());
  };
  document.addEventListener("visibilitychange", () => { if (!document.hidden) next(); });
  next();
  return next;
}

export function later(work, milliseconds) {
  let timer;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => work(...values), milliseconds);
  };
}

export const count = (number) => number.toLocaleString("en");

export function state(run) {
  const parts = [make("span", { class: `dot-state ${run.status}`, "aria-hidden": "true" }), run.doing];
  if (run.left) parts.push(`, about ${run.left} left`);
  return make("span", { class: "doing" }, ...parts);
}

export function ago(moment) {
  const seconds = Math.max(0, (Date.now() - Date.parse(moment)) / 1000);
  for (const [unit, length] of [["d", 86400], ["h", 3600], ["min", 60]]) {
    const n = Math.floor(seconds / length);
    if (n >= 1) return `${n} ${unit} ago`;
  }
  return "now";
}

// A solution as [kind, text] pieces: annotations dimmed, the final line bold, false equations marked.
export function solution(pieces) {
  const shown = pieces.map(([kind, text]) => kind === "false"
    ? make("mark", { class: "false", title: "This equation is false." }, text, make("span", { class: "hidden" }, " (false)"))
    : kind ? make("span", { class: kind }, text) : text);
  return make("pre", {}, ...(shown.length ? shown : ["(empty)"]));
}
