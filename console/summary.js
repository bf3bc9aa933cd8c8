// One conflict in a few words, the same in the list and above its fields.

import { nature } from "./decide.js";
import { bdi, h } from "./dom.js";
import { format, label, nodes, t } from "./text.js";
import { device } from "./values.js";

/** What happened. */
export function what(conflict) {
  const kind = nature(conflict);
  return kind.startsWith("deleted") ? t(`type.${kind}`) : t(`type.${conflict.conflictType}`);
}

/** What people call the row. */
export function title(conflict) {
  return conflict.title ? bdi(conflict.title) : h("span", { class: "nothing" }, t("list.untitled"));
}

export const when = (time) => h("time", { datetime: time }, format.time(time));

/** The kind, and the trip that the row lies in. */
export function place(conflict) {
  const trip = conflict.tripName && conflict.entityType !== "Trip";
  return [label(conflict.entityType), trip ? [" ", nodes("list.trip", { trip: bdi(conflict.tripName) })] : null];
}

/** Who sent the edit, from where and when. */
export function sender(conflict) {
  return nodes("list.by", {
    who: bdi(conflict.editedBy.displayName),
    device: device(conflict.deviceId),
    when: when(conflict.timestamp),
  });
}

/** How it was resolved, by whom and when. */
export function resolver(resolution) {
  return nodes("list.resolved", {
    how: t(`how.${resolution.strategy}`),
    who: bdi(resolution.person.displayName),
    when: when(resolution.resolvedAt),
  });
}
