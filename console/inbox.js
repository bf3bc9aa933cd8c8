// The list of conflicts: filters, counts, pages, and the choice of many at once.

import { announce } from "./announce.js";
import { ask } from "./api.js";
import { bulk } from "./bulk.js";
import { button, choice, fill, h, keepingFocus } from "./dom.js";
import { explain } from "./explain.js";
import { names } from "./kinds.js";
import { watch } from "./live.js";
import { INBOX, INBOX_MARK, NARROW } from "./queries.js";
import { place, resolver, sender, title, what } from "./summary.js";
import { label, t } from "./text.js";
import { device } from "./values.js";

/** Conflicts that are loaded at once; the server gives no more than the second number. */
const PAGE = 50;
const MOST = 500;

const FILTERS = ["entityType", "tripId", "deviceId"];

/** Shows the list that the parameters of the address ask for. */
export async function show(context, parameters) {
  const status = ["RESOLVED", "ALL"].includes(parameters.get("status")) ? parameters.get("status") : "OPEN";
  const filter = { status: status === "ALL" ? null : status };
  for (const name of FILTERS) filter[name] = parameters.get(name) || null;
  const list = { conflicts: [], nextCursor: null, totalCount: 0, counts: [], selected: new Set() };
  let choices = null;

  async function load(limit) {
    const { conflictInbox } = await ask(INBOX, { ...filter, limit });
    if (context.isOver()) return;
    Object.assign(list, conflictInbox);
    const shown = new Set(list.conflicts.map((conflict) => conflict.id));
    list.selected = new Set([...list.selected].filter((id) => shown.has(id)));
  }

  /** Loads again what is shown: after something happened here or elsewhere. */
  async function refresh() {
    await load(Math.min(Math.max(list.conflicts.length, PAGE), MOST));
    if (!context.isOver()) keepingFocus(render);
  }

  async function more(event) {
    event.target.disabled = true;
    try {
      const { conflictInbox } = await ask(INBOX, { ...filter, limit: PAGE, cursor: list.nextCursor });
      if (context.isOver()) return;
      const known = new Set(list.conflicts.map((conflict) => conflict.id));
      const added = conflictInbox.conflicts.filter((conflict) => !known.has(conflict.id));
      Object.assign(list, conflictInbox, { conflicts: [...list.conflicts, ...added] });
      render();
      document.getElementById(`open-${added[0]?.id}`)?.focus();
      announce(t("list.loaded", { n: added.length }));
    } catch (failure) {
      event.target.disabled = false;
      complain(failure);
    }
  }

  function complain(failure) {
    if (failure.code === "UNAUTHENTICATED") return context.failed(failure);
    fill(document.getElementById("list-problem"), explain(failure));
  }

  function narrow(changes) {
    const next = { status, ...filter, ...changes };
    const kept = Object.entries({ ...next, status: changes.status ?? status }).filter(([, value]) => value);
    location.hash = `#/?${new URLSearchParams(kept)}`;
  }

  function render() {
    const open = count(list.counts, { status: "OPEN" });
    context.title(open > 0 ? `(${open}) ${t("conflicts")}` : t("conflicts"));
    const select = bulk({ list, context, refresh, complain, changed: () => keepingFocus(render) });
    fill(context.main,
      h("h1", { tabindex: "-1" }, t("conflicts")),
      filters(choices, { ...filter, status }, list.counts, narrow),
      h("p", { id: "list-problem", class: "problem", role: "alert" }),
      h("p", { class: "count" }, t("list.count", { n: list.totalCount }),
        list.conflicts.length < list.totalCount
          && [" · ", t("list.shown", { shown: list.conflicts.length, n: list.totalCount })]),
      list.conflicts.length === 0 ? nothing(filter, narrow) : [
        select.all,
        h("ul", { class: "conflicts" }, list.conflicts.map((conflict) => item(conflict, select))),
        list.nextCursor && button(t("list.more"), more, { id: "more", class: "wide" }),
      ],
      select.bar);
  }

  [choices] = await Promise.all([ask(NARROW), load(PAGE)]);
  if (context.isOver()) return;
  render();
  context.keep(watch({
    known: () => mark(list),
    mark: async () => mark((await ask(INBOX_MARK, filter)).conflictInbox),
    changed: async () => {
      await refresh();
      announce(t("list.changed"));
    },
    failed: context.lost,
  }));
}

/** Changes when anything about the list does, but for what nobody sees in it. */
function mark({ conflicts: [newest], totalCount, counts }) {
  return JSON.stringify([newest?.id, newest?.currentVersion, totalCount, counts]);
}

function count(counts, { status, entityType }) {
  return counts
    .filter((count) => (!status || count.status === status) && (!entityType || count.entityType === entityType))
    .reduce((sum, { count }) => sum + count, 0);
}

function filters({ trips, devices }, filter, counts, narrow) {
  const all = ["", t("filter.all")];
  const status = filter.status === "ALL" ? null : filter.status;
  const select = (name, key, options) =>
    options.length > 0 && choice(`filter-${key}`, t(`filter.${key}`), filter[name] ?? "", [all, ...options],
      (value) => narrow({ [name]: value }));
  const kinds = names().map((name) => [name, `${label(name)} (${count(counts, { status, entityType: name })})`]);
  const tab = (name) => {
    const n = count(counts, { status: name === "ALL" ? null : name, entityType: filter.entityType });
    return h("button", {
      type: "button",
      id: `status-${name}`,
      "aria-pressed": String(filter.status === name),
      on: { click: () => narrow({ status: name }) },
    }, t(`status.${name}`), " ", h("span", { class: "number" }, n));
  };
  return h("section", { class: "filters", "aria-label": t("filter.title") },
    h("div", { class: "tabs", role: "group", "aria-label": t("filter.status") }, ["OPEN", "RESOLVED", "ALL"].map(tab)),
    select("entityType", "kind", kinds),
    select("tripId", "trip", trips.map((trip) => [trip.id, trip.name])),
    select("deviceId", "device", devices.map(({ id }) => [id, device(id)])));
}

function nothing(filter, narrow) {
  const isNarrow = FILTERS.some((name) => filter[name]);
  const key = isNarrow || filter.status !== "OPEN" ? "none" : "empty";
  return h("div", { class: "empty" },
    h("h2", {}, t(`list.${key}`)),
    h("p", {}, t(`list.${key}Lead`)),
    key === "none" && button(t("list.reset"), () =>
      narrow({ status: "ALL", entityType: null, tripId: null, deviceId: null }), { id: "reset" }));
}

function item(conflict, select) {
  const isOpen = conflict.status === "OPEN";
  const headingId = `title-${conflict.id}`;
  return h("li", { class: `conflict ${isOpen ? "open" : "resolved"}`, id: `item-${conflict.id}` },
    select.box(conflict, headingId),
    h("div", { class: "summary" },
      h("a", { id: `open-${conflict.id}`, class: "title", href: `#/conflict/${conflict.id}` },
        h("span", { id: headingId }, title(conflict))),
      h("p", { class: "what" }, what(conflict)),
      h("p", { class: "where" }, place(conflict)),
      h("p", { class: "who" }, isOpen ? sender(conflict) : resolver(conflict.resolution))));
}
