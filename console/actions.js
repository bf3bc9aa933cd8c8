// The buttons that decide a conflict, and what becomes of the answer.

import { announce } from "./announce.js";
import { ask } from "./api.js";
import { deletion, resolvedData } from "./decide.js";
import { button, fill, h } from "./dom.js";
import { Wrong } from "./edit.js";
import { explain } from "./explain.js";
import { RESOLVE } from "./queries.js";
import { t } from "./text.js";

/** The buttons for a kind of decision: only what the server says is possible. */
export function actions({ conflict, kind, open, refresh, context }) {
  const can = (strategy) => conflict.strategies.includes(strategy);
  const problem = h("p", { id: "decision-problem", class: "problem", role: "alert" });

  /** Sends a decision, and shows what came of it. `make` gives { strategy, data }, or null. */
  const act = (make) => async (event) => {
    fill(problem);
    const target = event.currentTarget;
    const decision = make();
    if (!decision) return;
    target.disabled = true;
    try {
      await ask(RESOLVE, { id: conflict.id, ...decision });
      await refresh();
      announce(t("conflict.saved"));
      focusOnHeading();
    } catch (failure) {
      target.disabled = false;
      await refused(failure);
    }
  };

  async function refused(failure) {
    if (failure.code === "UNAUTHENTICATED") return context.failed(failure);
    if (failure.code === "CONFLICT_ALREADY_RESOLVED") {
      await refresh(t("outcome.already")).catch(context.failed);
      return focusOnHeading();
    }
    if (failure.code !== "BAD_USER_INPUT") return fill(problem, explain(failure));
    // Either a value is wrong, and the message begins with its field, or the row has moved on.
    const name = failure.message.match(/^\w+/)?.[0];
    const wrong = open.find((chooser) => chooser.unit.fields.some((field) => field.name === name));
    const version = conflict.currentVersion;
    const now = await refresh().catch(context.failed);
    if (now && now !== version) return refresh(t("conflict.moved"));
    if (wrong) wrong.complain(t("conflict.refused", { message: failure.message }));
    else fill(document.getElementById("decision-problem"), explain(failure));
  }

  function focusOnHeading() {
    if (!context.isOver()) context.main.querySelector("h1")?.focus();
  }

  /** The decision that was made by hand; null, and the first gap in focus, where there is one. */
  function byHand() {
    const decided = [];
    let gaps = [];
    for (const chooser of open) {
      try {
        const values = chooser.decided();
        if (values) decided.push([chooser.unit, values]);
        else gaps.push(chooser);
      } catch (error) {
        if (!(error instanceof Wrong)) throw error;
        chooser.complain(error.message, error.control);
        return null;
      }
    }
    if (gaps.length > 0) {
      fill(problem, t("conflict.undecided", { n: gaps.length }));
      gaps.forEach((chooser) => chooser.element.classList.add("missing"));
      gaps[0].complain(t("state.contested"));
      return null;
    }
    return { strategy: "MANUAL_RESOLUTION", data: resolvedData(conflict, decided) };
  }

  const by = (strategy) => act(() => ({ strategy, data: null }));
  const delete_ = act(() => ({ strategy: "MANUAL_RESOLUTION", data: deletion(conflict) }));
  const one = (strategy, id, text, action, primary) =>
    can(strategy) && button(t(text), action, { id, class: primary ? "primary" : null });

  const buttons = {
    fields: () => [one("MANUAL_RESOLUTION", "save", "conflict.save", act(byHand), true)],
    deletedOnServer: () => [
      one("MANUAL_RESOLUTION", "restore", "conflict.restore", act(byHand), true),
      one("FIRST_WRITE_WINS", "leave-deleted", "conflict.leaveDeleted", by("FIRST_WRITE_WINS")),
    ],
    deletedByDevice: () => [
      one("FIRST_WRITE_WINS", "keep", "conflict.keep", by("FIRST_WRITE_WINS"), true),
      one("MANUAL_RESOLUTION", "delete", "conflict.delete", delete_),
    ],
    orphan: () => [
      one("FIELD_MERGE", "restore-parent", "conflict.restoreParent", by("FIELD_MERGE"), true),
      one("FIRST_WRITE_WINS", "drop", "conflict.drop", by("FIRST_WRITE_WINS")),
    ],
  }[kind]();

  if (conflict.strategies.length === 0) return h("p", { class: "notice" }, t("conflict.forbidden"));
  const both = can("KEEP_BOTH") && kind !== "deletedByDevice";
  return h("div", { class: "decide" },
    problem,
    h("div", { class: "actions" }, buttons,
      both && button(t("conflict.keepBoth"), by("KEEP_BOTH"), { id: "keep-both", "aria-describedby": "keep-both-lead" })),
    both && h("p", { class: "lead", id: "keep-both-lead" }, t("conflict.keepBothLead")));
}
