// One unit of a conflict, its sides beside each other, and the choice between them.

import { chosen, preset } from "./decide.js";
import { editor } from "./edit.js";
import { h } from "./dom.js";
import { label, t, unitLabel } from "./text.js";
import { short, shownUnit } from "./values.js";

/**
 * A chooser for a unit: its element, `decided()` with the values that were chosen (null where
 * nothing was; throws what `editor` throws), `choose(side)`, and `complain(message)`.
 */
export function chooser(unit, names) {
  const id = `unit-${unit.name}`;
  const known = (kind) => offered(unit, kind, names);
  const canWrite = unit.fields.every((field) => !field.readOnly);
  let choice = preset(unit);
  const own = canWrite && editor(unit, unit.device, id, known);
  const error = h("p", { id: `${id}-error`, class: "problem", role: "alert" });

  const sides = ["server", "device", unit.combined && "combined", canWrite && "own"].filter(Boolean);
  const radios = Object.fromEntries(sides.map((side) => [side, radio(side)]));

  function radio(side) {
    const listeners = { change: () => choose(side) };
    return h("input", { type: "radio", id: `${id}-${side}`, name: id, value: side, checked: choice === side, on: listeners });
  }

  function choose(side) {
    if (!radios[side]) return;
    choice = side;
    radios[side].checked = true;
    error.textContent = "";
    for (const side of sides) boxes[side].classList.toggle("chosen", side === choice);
    if (own) own.element.hidden = choice !== "own";
  }

  function box(side, ...content) {
    const pick = (event) => {
      // Marking words with the mouse is not choosing.
      if (String(getSelection()) === "" && !event.target.closest("a, button, input, select, textarea, label")) choose(side);
    };
    return h("div", { class: `side ${side}`, on: side === "own" ? {} : { click: pick } },
      h("label", { class: "pick", for: `${id}-${side}` }, radios[side], t(`side.${side}`)), ...content);
  }

  const boxes = {};
  for (const side of sides) {
    boxes[side] = side === "own" ? box(side, own.element) : box(side, shownUnit(unit, unit[side], names, unit.base ?? undefined));
  }
  const element = h("fieldset", { class: `unit ${unit.state}`, id, "aria-describedby": `${id}-state ${id}-error` },
    h("legend", {}, unitLabel(unit), " ", h("span", { id: `${id}-state`, class: "state" }, t(`state.${unit.state}`))),
    h("div", { class: "sides" },
      h("div", { class: "side base" },
        h("div", { class: "pick" }, t("side.base")),
        unit.base ? shownUnit(unit, unit.base, names) : h("div", { class: "value nothing" }, t("unknownBase"))),
      sides.filter((side) => side !== "own").map((side) => boxes[side])),
    boxes.own,
    error);
  if (choice) choose(choice);
  else if (own) own.element.hidden = true;

  return {
    unit,
    element,
    choose,
    decided: () => (choice ? chosen(unit, choice, choice === "own" ? own.read() : null) : null),
    complain(message, control) {
      error.textContent = message;
      (control ?? radios[choice] ?? radios[sides[0]]).focus();
    },
  };
}

/** What a set or link may be given: the rows of that kind that any side names. */
function offered(unit, kind, names) {
  const ids = new Set([unit.base, unit.server, unit.device, unit.combined].flat(Infinity).filter(Boolean));
  for (const row of names) if (row.entityType === kind) ids.add(row.id);
  const name = (id) => names.find((row) => row.id === id)?.name ?? t("unnamed", { kind: label(kind), id: short(id) });
  return [...ids].map((id) => ({ id, name: name(id) }));
}

/**
 * Units that are only shown, in columns of [heading, key of the unit's values]. With `marks` each
 * says its state.
 */
export function shownUnits(units, names, columns, marks) {
  const side = (unit, heading, key) => {
    const before = key === "base" ? undefined : unit.base ?? undefined;
    const values = unit[key] ? shownUnit(unit, unit[key], names, before) : h("div", { class: "value nothing" }, t("nothing"));
    return h("div", { class: `side ${key}` }, h("div", { class: "pick" }, heading), values);
  };
  return units.map((unit) => h("section", { class: `unit ${unit.state}` },
    h("h3", {}, unitLabel(unit), marks && [" ", h("span", { class: "state" }, t(`state.${unit.state}`))]),
    h("div", { class: "sides" }, columns.map(([heading, key]) => side(unit, heading, key)))));
}
