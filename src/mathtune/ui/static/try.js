import { byId, count, fault, make, solution, stream } from "./common.js";

const SIDES = ["base", "tuned"];
const place = (side, selector) => byId(side).querySelector(selector);
const put = (side, node) => place(side, "pre").replaceWith(node);
let stopping = null;

function clear(side, why) {
  place(side, ".verdict-word").textContent = "";
  place(side, ".why").textContent = why;
  put(side, make("pre", {}));
}

const shows = {
  loading: ({ side }) => { place(side, ".why").textContent = "loading the model …"; },
  ready: ({ side }) => { place(side, ".why").textContent = "answering …"; },
  text: ({ side, text }) => put(side, make("pre", {}, text)),
  answer(event) {
    const { side } = event;
    put(side, solution(event.text));
    const wrong = event.text.filter(([kind]) => kind === "false").length;
    const steps = wrong ? `${wrong} false equation${wrong === 1 ? "" : "s"}` : "no false equation found";
    place(side, ".why").textContent = [event.reason, steps, `${count(event.tokens)} tokens`, event.ending].filter(Boolean).join(" · ");
    const word = place(side, ".verdict-word");
    word.textContent = event.correct === undefined ? "" : event.correct ? "✓ right" : `✗ ${event.outcome.replaceAll("_", " ")}`;
    word.className = `verdict-word ${event.correct ? "is-right" : "is-wrong"}`;
  },
};

byId("form")?.addEventListener("submit", async (event) => {
  event.preventDefault();
  fault(null);
  stopping = new AbortController();
  byId("ask").disabled = true;
  byId("cancel").hidden = false;
  byId("status").textContent = "";
  byId("answers").hidden = false;
  for (const side of SIDES) clear(side, "waiting …");
  const asked = { task: "ask", run: byId("model").value, question: byId("question").value, gold: byId("gold").value, calculator: byId("calculator").checked };
  try {
    for await (const found of stream(asked, stopping.signal)) shows[found.event]?.(found);
    byId("status").textContent = "Answered.";
  } catch (error) {
    if (!stopping.signal.aborted) fault(error);
  }
  for (const side of SIDES) if (place(side, ".why").textContent.endsWith("…")) place(side, ".why").textContent = stopping.signal.aborted ? "stopped" : "no answer";
  byId("ask").disabled = false;
  byId("cancel").hidden = true;
});
byId("cancel")?.addEventListener("click", () => stopping.abort());
byId("question")?.addEventListener("input", () => { byId("gold").value = ""; }, { once: true }); // it was the example's
