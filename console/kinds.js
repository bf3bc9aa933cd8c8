// What the rows of each kind hold, as the server's tables say: nothing here is of one kind alone.

let kinds = [];

/** Reads the tables, once. */
export async function load() {
  const response = await fetch("/conflicts/kinds.json");
  kinds = await response.json();
}

export const names = () => kinds.map((kind) => kind.name);

/**
 * The units of a kind: fields that are decided together, as { name, fields }. A field without a
 * group is a unit of its own. Kinds that the page does not know have the fields of the sides.
 */
export function units(kindName, sides) {
  const fields = kinds.find((kind) => kind.name === kindName)?.fields ?? unknown(sides);
  const units = [];
  for (const field of fields) {
    const unit = field.group && units.find((unit) => unit.name === field.group);
    if (unit) unit.fields.push(field);
    else units.push({ name: field.group ?? field.name, fields: [field] });
  }
  return units;
}

/** A field by its name. */
export function field(kindName, name) {
  const fields = kinds.find((kind) => kind.name === kindName)?.fields ?? [];
  return fields.find((field) => field.name === name) ?? { name, type: "json", readOnly: true };
}

function unknown(sides) {
  const names = new Set(sides.flatMap((side) => Object.keys(side ?? {})));
  names.delete("deletedAt");
  return [...names].map((name) => ({ name, type: "json", readOnly: true }));
}
