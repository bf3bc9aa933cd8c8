// What came out of a resolved conflict, and the way back.

import { ask } from "./api.js";
import { button, fill, h } from "./dom.js";
import { explain } from "./explain.js";
import { UNDO } from "./queries.js";
import { shownUnits } from "./sides.js";
import { resolver } from "./summary.js";
import { t } from "./text.js";

export function outcome(conflict, units, refresh, context) {
  const { resolution } = conflict;
  const problem = h("p", { id: "outcome-problem", class: "problem", role: "alert" });

  async function undo(event) {
    const target = event.currentTarget;
    target.disabled = true;
    try {
      await ask(UNDO, { id: conflict.id });
      await refresh(t("outcome.undone"));
      context.main.querySelector("h1")?.focus();
    } catch (failure) {
      if (failure.code === "UNAUTHENTICATED") return context.failed(failure);
      target.disabled = false;
      fill(problem, explain(failure));
    }
  }

  const data = resolution.resolvedData && JSON.parse(resolution.resolvedData);
  const fate = !data ? "dropped" : data.deletedAt ? "deleted" : null;
  // Every field on which the sides and the outcome do not agree.
  const told = units.filter((unit) => {
    const values = [unit.local, unit.outcome ?? unit.local, unit.device].map((side) => JSON.stringify(side));
    return new Set(values).size > 1;
  });
  const columns = [[t("side.server"), "local"], [t("side.device"), "device"], [t("side.outcome"), "outcome"]];
  return [
    h("div", { class: "notice good" },
      h("h2", {}, t("outcome.title")),
      h("p", {}, resolver(resolution)),
      fate && h("p", {}, t(`outcome.${fate}`)),
      resolution.copyId && h("p", {}, t("outcome.copy"))),
    problem,
    h("p", { class: "actions" },
      button(t("outcome.undo"), undo, { id: "undo", "aria-describedby": "undo-lead" }),
      h("span", { class: "lead", id: "undo-lead" }, t("outcome.undoLead"))),
    h("h2", {}, t("outcome.fields")),
    told.length === 0 ? h("p", {}, t("outcome.same"))
      : shownUnits(told, conflict.names, fate === "dropped" ? columns.slice(0, 2) : columns, false),
  ];
}
