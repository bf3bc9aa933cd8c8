// The page's words, in the person's language.

import de from "./text/de.js";
import en from "./text/en.js";
import labels from "./text/fields.js";

const LANGUAGES = { en, de };
const KEY = "cairn.language";

/** Isolates a text within a sentence: its direction changes nothing around it. */
const ISOLATE = ["\u2068", "\u2069"];

let language = preferred();

function preferred() {
  const asked = [localStorage.getItem(KEY), ...navigator.languages];
  const known = asked.map((tag) => tag?.slice(0, 2).toLowerCase()).find((tag) => tag in LANGUAGES);
  return known ?? "en";
}

export const languages = () => Object.entries(LANGUAGES).map(([tag, texts]) => [tag, texts.language]);

export const current = () => language;

export function use(tag) {
  language = tag;
  localStorage.setItem(KEY, tag);
}

const template = (key) => LANGUAGES[language][key] ?? en[key] ?? key;

/** Whether there is a text of that name. */
export const has = (key) => key in en;

/**
 * A text with its `{placeholders}` filled. With a number `n` a text may have several forms: `key.one`
 * and `key.other`.
 */
export function t(key, values = {}) {
  return pieces(key, values).map((piece) => {
    if (typeof piece === "string") return piece;
    if (typeof piece.value === "number") return format.number(piece.value);
    return `${ISOLATE[0]}${piece.value}${ISOLATE[1]}`;
  }).join("");
}

/** The same as a list of texts and nodes: values may be nodes. */
export function nodes(key, values) {
  return pieces(key, values).map((piece) => {
    if (typeof piece === "string") return piece;
    return typeof piece.value === "number" ? format.number(piece.value) : piece.value;
  });
}

function pieces(key, values) {
  let text = template(key);
  if ("n" in values && !has(key)) text = template(`${key}.${new Intl.PluralRules(language).select(values.n)}`);
  return text.split(/(\{\w+\})/).filter((piece) => piece !== "").map((piece) => {
    const name = piece.match(/^\{(\w+)\}$/)?.[1];
    return name && name in values ? { value: values[name] } : piece;
  });
}

/** What people call a kind, a field or a choice: its label, else its name as words. */
export function label(name) {
  const found = labels[name];
  if (found) return found[language] ?? found.en;
  const words = String(name).replace(/([a-z0-9])([A-Z])/g, "$1 $2").replaceAll("_", " ");
  return words.charAt(0).toUpperCase() + words.slice(1).toLowerCase();
}

/** What people call a unit of fields. */
export function unitLabel(unit) {
  return unit.fields.length === 1 ? label(unit.fields[0].name) : label(`group.${unit.name}`).replace(/^Group\./, "");
}

export const format = {
  number: (value) => new Intl.NumberFormat(language, { maximumFractionDigits: 12 }).format(value),
  time: (value) => {
    const date = new Date(value);
    if (Number.isNaN(date.getTime())) return String(value);
    return new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "short" }).format(date);
  },
};
