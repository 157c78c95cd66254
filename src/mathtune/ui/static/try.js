import { byId, fault, make, solution, stream } from "./common.js";

const SIDES = ["base", "tuned"];
let stopping = null;

async function ask(side, question, signal) {
  const place = byId(side);
  const [word, why] = [place.querySelector(".verdict-word"), place.querySelector(".why")];
  const put = (node) => place.querySelector("pre").replaceWith(node);
  word.className = "verdict-word";
  word.textContent = "";
  put(make("pre", {}));
  why.textContent = "loading the model …";
  try {
    for await (const event of stream({ ...question, task: "ask", side }, signal)) {
      if (event.event === "ready") why.textContent = "answering …";
      if (event.event === "text") put(make("pre", {}, event.text));
      if (event.event === "done") {
        put(solution(event.text));
        const wrong = event.text.filter(([kind]) => kind === "false").length;
        const steps = wrong ? `${wrong} false equation${wrong === 1 ? "" : "s"}` : "no false equation found";
        why.textContent = [event.reason, steps, `${event.tokens} tokens`, `ended by ${event.stop.replaceAll("_", " ")}`].filter(Boolean).join(" · ");
        if (event.correct !== undefined) {
          word.textContent = event.correct ? "✓ right" : `✗ ${event.outcome.replaceAll("_", " ")}`;
          word.classList.add(event.correct ? "is-right" : "is-wrong");
        }
      }
    }
  } catch (error) {
    why.textContent = signal.aborted ? "stopped" : error.message;
  }
}

byId("form")?.addEventListener("submit", async (event) => {
  event.preventDefault();
  fault(null);
  stopping = new AbortController();
  byId("ask").disabled = true;
  byId("cancel").hidden = false;
  byId("status").textContent = "";
  const question = { run: byId("model").value, question: byId("question").value, gold: byId("gold").value, calculator: byId("calculator").checked };
  await Promise.all(SIDES.map((side) => ask(side, question, stopping.signal)));
  byId("ask").disabled = false;
  byId("cancel").hidden = true;
  byId("status").textContent = "Both have answered.";
});
byId("cancel")?.addEventListener("click", () => stopping.abort());
byId("question")?.addEventListener("input", () => { byId("gold").value = ""; }, { once: true }); // it was the example's
