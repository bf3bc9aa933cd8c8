// What there is to decide in a conflict, and what a decision sends. Knows no page and no server.

import { units } from "./kinds.js";

const parsed = (json) => (json === null || json === undefined ? null : JSON.parse(json));

const isSame = (a, b) => JSON.stringify(a ?? null) === JSON.stringify(b ?? null);

/** The sides of a conflict, read from their JSON. */
export function sidesOf(conflict) {
  const base = parsed(conflict.baseData);
  const local = parsed(conflict.localData) ?? {};
  const remote = parsed(conflict.remoteData) ?? {};
  // What stands in the way now may be newer than what did when the conflict arose.
  const server = parsed(conflict.currentData) ?? local;
  const device = { ...(base ?? server), ...remote };
  return {
    base,
    local,
    remote,
    server,
    device,
    merged: parsed(conflict.mergedData),
    outcome: parsed(conflict.resolution?.resolvedData),
  };
}

/** What kind of decision it is: of fields, of a row that one side deleted, or of a row whose parent is gone. */
export function nature(conflict) {
  if (conflict.conflictType === "DEPENDENCY_CONFLICT") return "orphan";
  if (conflict.conflictType !== "DELETION_CONFLICT") return "fields";
  return conflict.operation === "DELETE" ? "deletedByDevice" : "deletedOnServer";
}

/**
 * The units of a conflict's row, each with its values (a list, field by field) on every side and a
 * `state`: "contested" (both changed it), "device" (only the device did), "server" (only others
 * did), "same".
 */
export function unitsOf(conflict, sides) {
  const of = (unit, side) => side && unit.fields.map((field) => side[field.name] ?? null);
  return units(conflict.entityType, [sides.server, sides.remote]).map((unit) => {
    const [base, server, device] = [sides.base, sides.server, sides.device].map((side) => of(unit, side));
    const touched = unit.fields.some((field) => field.name in sides.remote);
    const named = unit.fields.some((field) => conflict.conflictedFields.includes(field.name));
    let state = "same";
    if (touched && !isSame(server, device)) {
      state = named || !base || !isSame(base, server) ? "contested" : "device";
      // Sets never collide: what was added is in, what was removed is out.
      if (!named && unit.fields[0].type === "refs") state = "device";
    } else if (!touched && base && !isSame(base, server)) {
      state = "server";
    }
    const merged = of(unit, sides.merged);
    const outcome = of(unit, sides.outcome);
    const combined = unit.fields[0].type === "refs" && merged
      && !isSame(merged, server) && !isSame(merged, device) ? merged : null;
    return { ...unit, base, server, device, combined, outcome, local: of(unit, sides.local), state };
  });
}

/** What is chosen before anybody chooses: only what nobody contests. */
export function preset(unit) {
  if (unit.state !== "device") return null;
  return unit.combined ? "combined" : "device";
}

/** The values that a choice stands for; `own` are those that the person wrote. */
export function chosen(unit, choice, own) {
  return choice === "own" ? own : unit[choice];
}

/**
 * The fields that a decision sends, as the text of `resolvedData`. `decided` is a list of
 * [unit, values]. The version that was looked at goes along: what changed since is not overwritten.
 */
export function resolvedData(conflict, decided) {
  const data = {};
  for (const [unit, values] of decided) {
    unit.fields.forEach((field, at) => (data[field.name] = values[at]));
  }
  return JSON.stringify({ ...data, syncVersion: conflict.currentVersion });
}

/** A decision that deletes the row as it was looked at. */
export function deletion(conflict) {
  return JSON.stringify({ deletedAt: new Date().toISOString(), syncVersion: conflict.currentVersion });
}
