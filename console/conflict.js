// One conflict: its sides beside each other, the decision, and what came out of it.

import { announce } from "./announce.js";
import { ask } from "./api.js";
import { actions } from "./actions.js";
import { nature, sidesOf, unitsOf } from "./decide.js";
import { bdi, button, fill, h, keepingFocus } from "./dom.js";
import { history } from "./history.js";
import { watch } from "./live.js";
import { outcome } from "./outcome.js";
import { CONFLICT, CONFLICT_MARK } from "./queries.js";
import { chooser, shownUnits } from "./sides.js";
import { place, title, what, when } from "./summary.js";
import { label, nodes, t } from "./text.js";
import { device } from "./values.js";

/** Shows a conflict. */
export async function show(context, id) {
  /** What was chosen is kept as long as the values are the same: unit → { values, chooser }. */
  const choosers = new Map();
  let conflict = null;
  let message = null;

  async function load() {
    const answer = await ask(CONFLICT, { id });
    if (!answer.conflict) throw Object.assign(new Error(), { code: "NOT_FOUND" });
    conflict = answer.conflict;
  }

  /** Loads again, with a note above that says why; gives the version of the row as it is now. */
  async function refresh(note = null) {
    await load();
    if (context.isOver()) return null;
    message = note;
    keepingFocus(render);
    if (note) announce(note);
    return conflict.currentVersion;
  }

  function chooserOf(unit) {
    const values = JSON.stringify([unit, conflict.names]);
    const known = choosers.get(unit.name);
    if (known?.values === values) return known.chooser;
    const made = chooser(unit, conflict.names);
    choosers.set(unit.name, { values, chooser: made });
    return made;
  }

  function render() {
    const sides = sidesOf(conflict);
    const units = unitsOf(conflict, sides);
    const isOpen = conflict.status === "OPEN";
    context.title(conflict.title ?? label(conflict.entityType));
    fill(context.main,
      h("p", {}, h("a", { class: "back", href: "#/" }, t("back"))),
      h("h1", { tabindex: "-1", class: "row-title" }, title(conflict)),
      h("p", { class: "where" }, place(conflict), " · ", what(conflict)),
      message && h("p", { class: "notice", id: "message" }, message),
      isOpen ? opened(sides, units) : outcome(conflict, units, refresh, context),
      undone(conflict),
      edits(conflict),
      history(conflict));
  }

  function opened(sides, units) {
    const kind = nature(conflict);
    const toChoose = units.filter((unit) => ["contested", "device"].includes(unit.state));
    const open = kind === "fields" || kind === "deletedOnServer" ? toChoose.map(chooserOf) : [];
    return [
      kind !== "fields" && h("p", { class: "notice" }, t(`conflict.${kind}`)),
      parties(conflict, sides),
      h("form", { id: "decision", novalidate: true, on: { submit: (event) => event.preventDefault() } },
        open.length > 0 && [heading(open), open.map((chooser) => chooser.element)],
        kind === "fields" && open.length === 0 && h("p", { class: "notice" }, t("conflict.settled")),
        actions({ conflict, kind, open, refresh, context })),
      kind === "orphan" ? shownUnits(toChoose, conflict.names, [[t("side.device"), "device"]], false) : agreed(units),
    ];
  }

  function heading(open) {
    const all = (side) => () => open.forEach((chooser) => chooser.choose(side));
    return h("div", { class: "row" },
      h("div", {}, h("h2", {}, t("conflict.fields")), h("p", { class: "lead" }, t("conflict.fieldsLead"))),
      open.length > 1 && h("p", { class: "actions" },
        button(t("conflict.allServer"), all("server"), { id: "all-server", class: "quiet" }),
        button(t("conflict.allDevice"), all("device"), { id: "all-device", class: "quiet" })));
  }

  /** What there is nothing to decide about. */
  function agreed(units) {
    const changed = units.filter((unit) => unit.state === "server");
    const same = units.filter((unit) => unit.state === "same" && unit.server.some((value) => value !== null));
    const server = [t("side.server"), "server"];
    return [
      shownUnits(changed, conflict.names, [[t("side.base"), "base"], server], true),
      same.length > 0 && h("details", { id: "unchanged" }, h("summary", {}, t("conflict.unchanged")),
        shownUnits(same, conflict.names, [server], false)),
    ];
  }

  await load();
  if (context.isOver()) return;
  render();
  context.keep(watch({
    known: () => mark(conflict),
    mark: async () => mark((await ask(CONFLICT_MARK, { id })).conflict),
    changed: async () => {
      const before = conflict.status;
      await refresh();
      if (context.isOver()) return;
      const isOpen = conflict.status === "OPEN";
      message = t(before === conflict.status ? "conflict.moved" : isOpen ? "outcome.reopened" : "outcome.already");
      keepingFocus(render);
      announce(message);
    },
    failed: context.lost,
  }));
}

/** Changes when anything about the conflict does. */
function mark(conflict) {
  if (!conflict) return "gone";
  const { status, currentVersion, strategies, edits } = conflict;
  return JSON.stringify([status, currentVersion, strategies, edits.map((edit) => edit.timestamp)]);
}

/** Who stands behind each side. */
function parties(conflict, sides) {
  const party = (heading, isDeleted, ...content) =>
    h("div", { class: "party" }, h("h2", {}, heading, isDeleted && [" ", h("span", { class: "tag" }, t("conflict.deleted"))]),
      h("p", {}, content));
  const { serverBy } = conflict;
  return h("div", { class: "parties" },
    party(t("conflict.server"), Boolean(sides.server.deletedAt),
      serverBy ? nodes("conflict.serverBy", { who: bdi(serverBy.displayName), device: device(conflict.serverDeviceId) })
        : t("conflict.serverUnknown")),
    party(t("conflict.device"), conflict.operation === "DELETE",
      nodes("conflict.deviceBy", {
        who: bdi(conflict.editedBy.displayName),
        device: device(conflict.deviceId),
        when: when(conflict.timestamp),
      })));
}

/** The story of the device's edits, where there is more than one. */
function edits(conflict) {
  if (conflict.edits.length < 2) return null;
  return h("details", { id: "edits" }, h("summary", {}, t("conflict.edits")),
    h("ol", { class: "events" }, conflict.edits.map((edit) =>
      h("li", {}, t(`operation.${edit.operation}`), ": ",
        Object.keys(JSON.parse(edit.data)).filter((name) => name !== "deletedAt").map(label).join(", "),
        h("p", { class: "who" }, nodes("list.by", {
          who: bdi(edit.person.displayName), device: device(edit.deviceId), when: when(edit.clientTimestamp),
        }))))));
}

/** Earlier decisions that did not stand. */
function undone(conflict) {
  if (conflict.undone.length === 0) return null;
  return h("details", { id: "undone" }, h("summary", {}, t("outcome.earlier")),
    h("ol", { class: "events" }, conflict.undone.map((earlier) =>
      h("li", {}, nodes("outcome.earlierItem", {
        how: t(`how.${earlier.strategy}`),
        who: bdi(earlier.resolvedBy.displayName),
        when: when(earlier.resolvedAt),
        undoer: bdi(earlier.undoneBy.displayName),
        undoneWhen: when(earlier.undoneAt),
      })))));
}
