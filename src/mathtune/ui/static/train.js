import { byId, fault, later, make, send, stream } from "./common.js";
import { recipeForm } from "./recipe_form.js";

let turn = 0;
let planning = Promise.resolve();

const changed = later(async () => {
  const mine = ++turn;
  const asked = { ...form(), action: byId("action").value };
  try {
    const found = await send("/api/prepare", asked);
    if (mine !== turn) return;
    byId("command").textContent = found.command;
    byId("faults").replaceChildren(...found.faults.map((text) => make("li", {}, text)));
    byId("start").disabled = found.faults.length > 0;
    byId("start").textContent = found.exists ? "Continue" : "Start";
    byId("note").textContent = found.exists
      ? `The folder ${found.folder} exists: what is finished in it is kept.`
      : "It runs in a process of its own, which goes on when this page or its server is closed.";
    fault(null);
    if (!found.faults.length) planning = planning.then(() => (mine === turn ? plan(mine, asked) : undefined));
  } catch (error) {
    if (mine !== turn) return;
    byId("start").disabled = true;
    byId("faults").replaceChildren(...(error.faults || [error.message]).map((text) => make("li", {}, text)));
  }
}, 350);

const form = recipeForm(() => changed());

async function plan(mine, asked) {
  byId("plan").setAttribute("aria-busy", "true");
  byId("plan-state").textContent = "Estimating memory and time …";
  try {
    for await (const event of stream({ ...asked, task: "plan" })) if (event.event === "done" && mine === turn) show(event);
  } catch (error) {
    if (mine === turn) {
      byId("plan-content").replaceChildren();
      byId("plan-state").textContent = error.message;
    }
  }
  byId("plan").setAttribute("aria-busy", "false");
}

function show(found) {
  const fact = (term, text, note) => make("div", {}, make("dt", {}, term), make("dd", { class: "text" }, text), note ? make("dd", { class: "small" }, note) : null);
  const fits = { true: "It fits.", false: "It does not fit.", null: "How much memory there is, is not known." }[String(found.fits)];
  const memory = make("div", {}, make("dt", {}, "Peak memory"), make("dd", { class: `text ${found.fits === false ? "bad" : ""}` }, found.peak), make("dd", { class: "small" },
    found.share === null ? null : make("meter", { min: 0, max: 1, value: found.share, "aria-label": "Share of the memory" }), found.available ? ` of ${found.available}. ${fits}` : fits));
  byId("plan-content").replaceChildren(
    make("dl", { class: "key" }, memory,
      fact("Training time, about", found.time || "not known", found.range ? `${found.range}, without measuring` : null),
      fact("Steps", found.steps, `${found.examples} examples`),
      make("div", { class: "wide" }, make("dt", {}, "Model"), make("dd", { class: "small" }, `${found.model}: ${found.parameters}; on ${found.device}`))),
    make("details", {}, make("summary", {}, "What the memory is used for"), make("table", { class: "figures" }, make("tbody", {}, ...found.memory.map(([use, size]) => make("tr", {}, make("th", { scope: "row" }, use), make("td", { class: "n" }, size)))))),
    ...(found.remedies.length ? [make("h3", {}, "What would help"), make("ul", {}, ...found.remedies.map(([change, peak, ok]) => make("li", {}, make("code", {}, change), `: ${peak}, ${ok ? "fits" : "does not fit"}`)))] : []));
  byId("plan-state").textContent = "An estimate from the model's configuration and the data on this machine.";
}

byId("action").addEventListener("change", () => changed());
byId("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  byId("start").disabled = true;
  byId("note").textContent = "Checking recipe, data and model …";
  try {
    const { id } = await send("/api/start", { ...form(), action: byId("action").value });
    location.href = `/run/${id}`;
  } catch (error) {
    byId("faults").replaceChildren(...(error.faults || [error.message]).map((text) => make("li", {}, text)));
    byId("note").textContent = "";
    byId("start").disabled = false;
  }
});
