// Inputs for a value of one's own, by the type of the field, and how they are read.

import { bdi, h } from "./dom.js";
import { label, t } from "./text.js";

/** The longest line and text that the server takes. */
const LINE = 255;
const TEXT = 65_536;

/**
 * The inputs of a unit that begin with `values`; `known` are the ids that a set or link may be
 * given, with their names. `read` gives the values, or throws an error that says which input is
 * wrong.
 */
export function editor(unit, values, id, known) {
  const inputs = unit.fields.map((field, at) => input(field, values?.[at] ?? null, `${id}-${field.name}`, known));
  return {
    element: h("div", { class: "own" }, inputs.map((input) => input.element)),
    first: inputs[0].control,
    read: () => inputs.map((input) => input.read()),
  };
}

/** Which input is wrong. */
export class Wrong extends Error {
  constructor(control, message) {
    super(message);
    this.control = control;
  }
}

/** { element, control, read } of one field. */
function input(field, value, id, known) {
  const make = INPUTS[field.type] ?? INPUTS.line;
  return make(field, value, id, known);
}

function labelled(field, id, control) {
  return h("div", { class: "input" }, h("label", { for: id }, label(field.name)), control);
}

/** One control whose text is read by `parse`. */
function simple(field, id, control, parse) {
  const read = () => {
    if (!control.validity.valid) throw new Wrong(control, control.validationMessage);
    const text = control.value;
    if (text === "" && field.nullable) return null;
    if (text.trim() === "" && !field.nullable) throw new Wrong(control, t("needed"));
    return parse(text);
  };
  return { element: labelled(field, id, control), control, read };
}

function line(field, value, id) {
  const control = h("input", { id, type: "text", dir: "auto", maxlength: LINE, value: value ?? "", autocomplete: "off" });
  return simple(field, id, control, (text) => text);
}

function text(field, value, id) {
  const control = h("textarea", { id, dir: "auto", rows: 6, maxlength: TEXT, value: value ?? "" });
  return simple(field, id, control, (text) => text);
}

function number(field, value, id) {
  const step = field.type === "int" ? 1 : "any";
  const mode = field.type === "int" ? "numeric" : "decimal";
  const { min, max } = field;
  const control = h("input", { id, type: "number", step, min, max, inputmode: mode, value: value ?? "" });
  return simple(field, id, control, Number);
}

/** A local date and time, down to the second; milliseconds stay where nothing is changed. */
function time(field, value, id) {
  const local = value === null ? "" : localTime(value);
  const control = h("input", { id, type: "datetime-local", step: 1, value: local, min: "0001-01-01T00:00", max: "9999-12-31T00:00" });
  return simple(field, id, control, (text) => (text === local ? value : new Date(text).toISOString()));
}

function localTime(value) {
  const date = new Date(value);
  const two = (number) => String(number).padStart(2, "0");
  const day = [String(date.getFullYear()).padStart(4, "0"), two(date.getMonth() + 1), two(date.getDate())];
  return `${day.join("-")}T${[date.getHours(), date.getMinutes(), date.getSeconds()].map(two).join(":")}`;
}

function color(field, value, id) {
  const control = h("input", { id, type: "color", value: value ?? "#888888" });
  const none = h("input", { id: `${id}-none`, type: "checkbox", checked: value === null });
  control.addEventListener("input", () => (none.checked = false));
  const element = h("div", { class: "input" }, h("label", { for: id }, label(field.name)), control,
    field.nullable && h("label", { class: "check" }, none, t("nothing")));
  return { element, control, read: () => (field.nullable && none.checked ? null : control.value) };
}

function options(field, value, id, pairs, parse) {
  const all = field.nullable ? [["", t("nothing")], ...pairs] : pairs;
  const control = h("select", { id, value: value === null ? "" : String(value) },
    all.map(([value, text]) => h("option", { value, dir: "auto" }, text)));
  return simple(field, id, control, parse);
}

const bool = (field, value, id) =>
  options(field, value, id, [["true", t("yes")], ["false", t("no")]], (text) => text === "true");

const choice = (field, value, id) =>
  options(field, value, id, field.choices.map((name) => [name, label(name)]), (text) => text);

const parent = (field, value, id, known) =>
  options(field, value, id, known(field.kind).map((row) => [row.id, row.name]), (text) => text);

function refs(field, value, id, known) {
  const boxes = known(field.kind).map((row, at) =>
    [row.id, h("input", { id: `${id}-${at}`, type: "checkbox", checked: (value ?? []).includes(row.id) }), row.name]);
  const element = h("fieldset", { class: "input" }, h("legend", {}, label(field.name)),
    boxes.map(([, box, name]) => h("label", { class: "check" }, box, bdi(name))));
  const read = () => boxes.filter(([, box]) => box.checked).map(([id]) => id);
  return { element, control: boxes[0]?.[1] ?? element, read };
}

const INPUTS = { name: line, line, text, int: number, float: number, time, color, bool, choice, parent, refs };
