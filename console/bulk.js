// Decides many conflicts at once, in one way.

import { announce } from "./announce.js";
import { ask } from "./api.js";
import { button, choice, h } from "./dom.js";
import { RESOLVE_MANY, UNDO } from "./queries.js";
import { t } from "./text.js";

/** What can be done to many at once, and what it is to be unless somebody says otherwise. */
const STRATEGIES = ["LAST_WRITE_WINS", "FIRST_WRITE_WINS", "FIELD_MERGE", "KEEP_BOTH"];

/** What was decided last, and can be undone; it outlives the list being drawn again. */
let done = [];
let strategy = STRATEGIES[0];

/** The parts of the list that choose: `all`, a `box` for each conflict, and the `bar` below. */
export function bulk({ list, context, refresh, complain, changed }) {
  const choosable = list.conflicts.filter((conflict) => conflict.strategies.some((name) => STRATEGIES.includes(name)));
  const chosen = choosable.filter((conflict) => list.selected.has(conflict.id));
  const possible = STRATEGIES.filter((name) => chosen.every((conflict) => conflict.strategies.includes(name)));
  if (!possible.includes(strategy)) strategy = possible[0];

  function select(ids, isChosen) {
    for (const id of ids) isChosen ? list.selected.add(id) : list.selected.delete(id);
    if (isChosen) done = [];
    changed();
    announce(t("bulk.selected", { n: list.selected.size }));
  }

  async function act(event, work) {
    event.target.disabled = true;
    try {
      await work();
    } catch (failure) {
      event.target.disabled = false;
      complain(failure);
    }
  }

  const resolve = (event) => act(event, async () => {
    const ids = chosen.map((conflict) => conflict.id);
    await ask(RESOLVE_MANY, { ids, strategy });
    list.selected.clear();
    done = ids;
    await refresh();
    announce(t("bulk.done", { n: ids.length }));
    document.getElementById("bulk-undo")?.focus();
  });

  const undo = (event) => act(event, async () => {
    while (done.length > 0) {
      await ask(UNDO, { id: done[0] });
      done = done.slice(1);
    }
    await refresh();
    announce(t("outcome.undone"));
    context.main.querySelector("h1")?.focus();
  });

  function box(conflict, labelId) {
    if (!choosable.includes(conflict)) return null;
    const id = `select-${conflict.id}`;
    const listeners = { change: (event) => select([conflict.id], event.target.checked) };
    return h("label", { class: "box" },
      h("input", { id, type: "checkbox", checked: list.selected.has(conflict.id), on: listeners,
        "aria-label": t("list.select", { title: conflict.title ?? t("list.untitled") }), "aria-describedby": labelId }));
  }

  const all = choosable.length > 1 && h("label", { class: "check all" },
    h("input", {
      id: "select-all",
      type: "checkbox",
      checked: chosen.length === choosable.length,
      indeterminate: chosen.length > 0 && chosen.length < choosable.length,
      on: { change: (event) => select(choosable.map((conflict) => conflict.id), event.target.checked) },
    }),
    t("list.selectAll"));

  return { all, box, bar: bar() };

  function bar() {
    if (chosen.length > 0) {
      return h("section", { class: "bar", "aria-label": t("bulk.title") },
        h("strong", {}, t("bulk.selected", { n: chosen.length })),
        possible.length === 0 ? h("p", {}, t("bulk.none")) : [
          choice("bulk-how", t("bulk.how"), strategy, possible.map((name) => [name, t(`strategy.${name}`)]),
            (name) => (strategy = name)),
          button(t("bulk.submit", { n: chosen.length }), resolve, { id: "bulk-submit", class: "primary" }),
        ],
        button(t("bulk.clear"), () => select([...list.selected], false), { id: "bulk-clear", class: "quiet" }));
    }
    return done.length > 0 && h("section", { class: "bar", "aria-label": t("bulk.title") },
      h("strong", {}, t("bulk.done", { n: done.length })),
      button(t("bulk.undo"), undo, { id: "bulk-undo" }));
  }
}
