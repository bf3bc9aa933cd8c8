// Shows the values of fields, and what differs between two of them, inside the text.

import { difference } from "./diff.js";
import { bdi, h } from "./dom.js";
import { format, label, t } from "./text.js";

/** Characters from which a value gets a frame that scrolls. */
const LONG = 700;

/** The ids of a device or row, short enough to be told apart at a glance. */
export const short = (id) => id.slice(0, 8);

export const device = (id) => (id ? t("device", { id: short(id) }) : t("noDevice"));

/** A row that a value names: its name where the caller sees it. */
function named(id, kind, names) {
  const found = names.find((row) => row.entityType === kind && row.id === id);
  return found?.name ?? t("unnamed", { kind: label(kind), id: short(id) });
}

/** A value as text; null where there is none. */
export function plain(field, value, names) {
  if (value === null || value === undefined || value === "") return null;
  switch (field.type) {
    case "bool": return t(value ? "yes" : "no");
    case "int":
    case "float": return format.number(value);
    case "time": return format.time(value);
    case "choice": return label(value);
    case "parent": return named(value, field.kind, names);
    case "refs": return null;
    case "json": return typeof value === "string" ? value : JSON.stringify(value);
    default: return String(value);
  }
}

/**
 * A value, with marks where it differs from another one that came before it (undefined: none did).
 */
export function shown(field, value, names, before) {
  if (field.type === "refs") return set(field, value ?? [], names, before);
  const text = plain(field, value, names);
  const old = before === undefined ? undefined : plain(field, before, names);
  const words = ["name", "line", "text", "json"].includes(field.type);
  let content;
  if (text === null) {
    content = h("span", { class: "nothing" }, t("nothing"));
  } else if (old === undefined || old === text) {
    content = text;
  } else if (old === null || !words) {
    content = h("ins", {}, text);
  } else {
    const parts = difference(old, text);
    const isOther = !parts.some(([mark]) => mark === "same");
    content = parts.map(([mark, part]) => {
      if (mark === "same") return part;
      if (mark === "inserted") return h("ins", {}, part);
      // Where everything is other, what was stands beside it already.
      return isOther ? null : h("del", {}, part);
    });
  }
  const isLong = text !== null && text.length > LONG;
  const frame = isLong ? { tabindex: "0", role: "group", "aria-label": label(field.name) } : {};
  const swatch = field.type === "color" ? colored(value) : null;
  return h("div", { class: isLong ? "value long" : "value", dir: "auto", ...frame }, swatch, content);
}

/** A colour beside its name. */
function colored(value) {
  if (!/^#[0-9a-f]{6}$/i.test(value ?? "")) return null;
  const swatch = h("span", { class: "swatch", "aria-hidden": "true" });
  swatch.style.backgroundColor = value;
  return swatch;
}

/** The members of a set, and those that are gone. */
function set(field, ids, names, before) {
  const gone = (before ?? ids).filter((id) => !ids.includes(id));
  const isNew = (id) => before !== undefined && !(before ?? []).includes(id);
  const member = (id, mark) => h("li", {}, h(mark, {}, bdi(named(id, field.kind, names))));
  if (ids.length + gone.length === 0) {
    return h("div", { class: "value" }, h("span", { class: "nothing" }, t("nothing")));
  }
  return h("ul", { class: "value set" },
    ids.map((id) => member(id, isNew(id) ? "ins" : "span")),
    gone.map((id) => member(id, "del")));
}

/** All fields of a unit on one side. */
export function shownUnit(unit, values, names, before) {
  return unit.fields.map((field, at) => [
    unit.fields.length > 1 && h("div", { class: "field-name" }, label(field.name)),
    shown(field, values?.[at], names, before === undefined ? undefined : before?.[at] ?? null),
  ]);
}
