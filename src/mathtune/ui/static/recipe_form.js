// A recipe with its main knobs; what was changed becomes KEY=VALUE.
import { byId, fault, make, read, setOptions } from "./common.js";

export function recipeForm(onChange, wanted = () => true) {
  let fields = [];

  async function load() {
    try {
      fields = (await read("/api/fields", { recipe: byId("recipe").value })).filter((knob) => wanted(knob.key));
      byId("knobs").replaceChildren(...fields.map(field));
      fault(null);
      onChange();
    } catch (error) { fault(error); }
  }

  function field(knob) {
    const id = `knob-${knob.key}`;
    const input = knob.choices.length ? make("select", { id }) : make("input", { id, value: knob.value, placeholder: knob.empty, inputmode: knob.number ? "decimal" : "text", spellcheck: "false", autocomplete: "off" });
    if (knob.choices.length) setOptions(input, [...(knob.choices.includes(knob.value) ? [] : [["", "—"]]), ...knob.choices.map((one) => [one, one])], knob.value);
    input.title = `${knob.key}: ${knob.help}`;
    input.setAttribute("aria-describedby", `${id}-key`);
    input.addEventListener("input", () => { input.classList.toggle("changed", input.value !== knob.value); onChange(); });
    return make("div", { class: "knob" }, make("label", { for: id }, knob.label), input, make("small", { id: `${id}-key` }, knob.key));
  }

  byId("recipe").addEventListener("change", load);
  byId("more").addEventListener("input", onChange);
  if ([...byId("recipe").options].some((option) => option.value === "demo")) byId("recipe").value = "demo";
  load();

  return () => {
    const values = {};
    for (const knob of fields) {
      const value = byId(`knob-${knob.key}`).value;
      if (value !== knob.value) values[knob.key] = value;
    }
    return { recipe: byId("recipe").value, values, more: byId("more").value };
  };
}
