import { byId, count, fault, make, stream } from "./common.js";
import { recipeForm } from "./recipe_form.js";

const SHOWN = ["model.name_or_path", "prompt.style", "train.max_length", "data.max_train_samples", "data.max_validation_samples", "data.max_test_samples", "seed"];
const form = recipeForm(() => {}, (key) => SHOWN.includes(key));
let stopping = null;

const reasons = (counts) => Object.entries(counts || {}).map(([why, n]) => `${count(n)} ${why}`).join("; ") || "none";

const shows = {
  loading: () => { byId("status").textContent = "Loading the problems …"; },
  splits({ data }) {
    const line = (name, part) => make("tr", {}, make("th", { scope: "row" }, name), make("td", { class: "n" }, count(part.n)), make("td", {}, part.sources.join(", ") || "—"), make("td", {}, reasons(part.dropped)));
    byId("split-rows").replaceChildren(line("Training", data.train), line("Validation", data.validation), ...data.test.map((test) => line(`Test: ${test.label}`, test)));
    byId("splits").hidden = false;
    byId("status").textContent = "Loading the tokenizer …";
  },
  examples(found) {
    byId("tokens").hidden = false;
    byId("status").textContent = "Looking for test questions in the training problems …";
    if (found.faults) {
      byId("tokens-note").textContent = found.faults.join(" ");
      byId("examples").replaceChildren();
      byId("lengths").replaceChildren();
      return;
    }
    byId("tokens-note").textContent = `Prompt style ${found.style}. Of the first ${count(found.measured)} training problems the longest has ${count(found.longest)} tokens; ${count(found.too_long)} are longer than train.max_length=${count(found.limit)}.`;
    byId("examples").replaceChildren(...found.examples.map((example, index) => make("figure", {},
      make("figcaption", {}, `Example ${index + 1}: ${example.tokens} tokens, ${example.targets} supervised`),
      make("pre", { class: "tokens" }, ...example.parts.map(([kind, text]) => make("span", { class: `token ${kind}` }, text))))));
    const most = Math.max(1, ...found.lengths.map(([, , n]) => n));
    byId("lengths").replaceChildren(make("table", { class: "histogram" }, make("tbody", {}, ...found.lengths.map(([low, high, n]) => make("tr", {},
      make("th", { scope: "row" }, low === high ? `${low}` : `${low}–${high}`), make("td", {}, make("meter", { min: 0, max: most, value: n, "aria-hidden": "true" })), make("td", { class: "n" }, count(n)))))));
  },
  done(found) {
    byId("near").hidden = false;
    byId("status").textContent = "";
    byId("near-note").textContent = !found.checked
      ? "The test problems are all generated; mathtune's generator keeps their parts apart."
      : found.found ? `${count(found.found)} pairs share 13 words in a row, numbers ignored${found.found > found.pairs.length ? `; the first ${found.pairs.length}` : ""}.`
        : `No training problem shares 13 words in a row with one of ${count(found.checked)} test problems, numbers ignored.`;
    byId("pairs").replaceChildren(...found.pairs.map(([train, test, shared]) => make("div", { class: "pair" },
      make("div", {}, make("h3", {}, "Training"), make("p", {}, train)), make("div", {}, make("h3", {}, "Test"), make("p", {}, test)), make("p", { class: "caption" }, `shared: ${shared}`))));
  },
};

byId("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  stopping = new AbortController();
  byId("look").disabled = true;
  byId("cancel").hidden = false;
  for (const id of ["splits", "tokens", "near"]) byId(id).hidden = true;
  fault(null);
  try {
    for await (const found of stream({ ...form(), task: "data" }, stopping.signal)) shows[found.event]?.(found);
  } catch (error) {
    if (!stopping.signal.aborted) fault(error);
    byId("status").textContent = stopping.signal.aborted ? "Stopped." : "";
  }
  byId("look").disabled = false;
  byId("cancel").hidden = true;
});
byId("cancel").addEventListener("click", () => stopping.abort());
