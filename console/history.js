// What accepted changes did to the row, asked for when somebody opens it.

import { ask } from "./api.js";
import { bdi, button, fill, h } from "./dom.js";
import { explain } from "./explain.js";
import { field } from "./kinds.js";
import { HISTORY } from "./queries.js";
import { when } from "./summary.js";
import { label, nodes, t } from "./text.js";
import { device, shown } from "./values.js";

/** Changes that are loaded at once. */
const PAGE = 20;

export function history(conflict) {
  const list = h("ol", { class: "events" });
  const below = h("div", { role: "status" });
  let isAsked = false;

  async function load(before) {
    fill(below, t("loading"));
    try {
      const variables = { entityType: conflict.entityType, id: conflict.entityId, limit: PAGE, before };
      const { history } = await ask(HISTORY, variables);
      list.append(...history.map((revision) => event(revision, conflict)));
      const last = history.at(-1)?.version;
      const hasMore = history.length === PAGE && last > 1;
      fill(below, hasMore ? button(t("history.older"), () => load(last), { id: "older" })
        : !list.hasChildNodes() && t("history.empty"));
    } catch (failure) {
      fill(below, explain(failure), " ", button(t("again"), () => load(before)));
    }
  }

  const toggle = ({ target }) => {
    if (!target.open || isAsked) return;
    isAsked = true;
    load(null);
  };
  return h("details", { id: "history", on: { toggle } }, h("summary", {}, t("history.title")), list, below);
}

function event(revision, conflict) {
  const [before, after] = [JSON.parse(revision.oldData), JSON.parse(revision.newData)];
  const names = Object.keys({ ...before, ...after }).filter((name) => name !== "deletedAt");
  return h("li", {},
    h("p", {}, nodes("history.item", {
      version: revision.version,
      what: t(`operation.${revision.operation}`).toLowerCase(),
      who: bdi(revision.person.displayName),
      device: device(revision.deviceId),
      when: when(revision.timestamp),
    })),
    names.map((name) => change(field(conflict.entityType, name), before[name], after[name], conflict.names)));
}

function change(field, before, after, names) {
  return h("div", { class: "change" },
    h("div", { class: "field-name" }, label(field.name)),
    h("div", { class: "sides" },
      h("div", { class: "side base" }, h("div", { class: "pick" }, t("history.before")), shown(field, before, names)),
      h("div", { class: "side" }, h("div", { class: "pick" }, t("history.after")), shown(field, after, names, before ?? null))));
}
