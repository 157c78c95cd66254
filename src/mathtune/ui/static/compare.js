import { answers } from "./answers.js";
import { byId, fault, later, make, read, send } from "./common.js";

const MOST = 6;
let files = [];
let chosen = [];
const table = answers((side) => `run-${side + 1}`);

function draw() {
  const left = files.filter((file) => !chosen.some((one) => one.id === file.id));
  byId("files").replaceChildren(...left.map((file) => item(file, "Choose", () => { chosen = [...chosen, file]; draw(); }, chosen.length >= MOST)));
  byId("chosen").replaceChildren(...chosen.map((file) => item(file, "Remove", () => { chosen = chosen.filter((one) => one !== file); draw(); }, false)));
  if (!chosen.length) byId("chosen").append(make("li", { class: "absent" }, "None yet."));
  byId("compare").disabled = chosen.length < 2;
}

function item(file, word, act, disabled) {
  const button = make("button", { type: "button", "aria-label": `${word} ${file.name}`, disabled }, word);
  button.addEventListener("click", act);
  return make("li", {}, button, make("span", {}, file.name));
}

async function find() {
  try {
    files = await read("/api/files", { q: byId("find").value });
    draw();
    if (!files.length && !byId("find").value) byId("files").replaceChildren(make("li", { class: "absent" }, "There are no predictions files below this root yet."));
  } catch (error) { fault(error); }
}

const HEADS = ["", "Problems", "Exact match", "Difference, points", "Gained", "Lost", "McNemar p", "p, Holm"];
const cell = (text, below) => make("td", { class: "n" }, text, below && below !== "—" ? make("span", { class: "interval" }, below) : null);

function show(found) {
  byId("heads").replaceChildren(make("tr", {}, ...HEADS.map((head, index) => make("th", { scope: "col", class: index ? "n" : "" }, head))));
  const name = (label, side) => make("th", { scope: "row" }, make("span", { class: `model run-${side + 1}` }, label));
  byId("sides").replaceChildren(
    make("tr", {}, name(found.base.label, 0), cell(found.base.n), cell(found.base.rate, found.base.rate_interval), ...Array.from({ length: 5 }, () => cell(""))),
    ...found.others.map((one, index) => make("tr", {}, name(one.label, index + 1), cell(one.n), cell(one.rate, one.rate_interval), cell(one.difference, one.interval), cell(one.gained), cell(one.lost), cell(one.p), cell(one.holm))));
  byId("verdicts").replaceChildren(...found.others.map((one) => make("li", {}, one.verdict)));
  byId("table").hidden = false;
}

byId("compare").addEventListener("click", async () => {
  const button = byId("compare");
  button.disabled = true;
  const asked = chosen.map((file) => file.id);
  fault(null);
  try {
    const found = await send("/api/compare", { files: asked });
    show(found);
    byId("problems").hidden = false;
    table.choose(asked, found.names);
    byId("table").scrollIntoView();
  } catch (error) {
    byId("table").hidden = true;
    byId("problems").hidden = true;
    fault(error);
    byId("fault").scrollIntoView();
  }
  button.disabled = false;
});
byId("find").addEventListener("input", later(find, 150));
find();
