// Begins here: the frame around the views, and which view is shown.
//
// `#/` is the list, with its filter as parameters; `#/conflict/<id>` is one conflict. Who has no
// token sees the form to log in, whatever the address says.

import { forget, token } from "./account.js";
import { connection } from "./announce.js";
import { ask } from "./api.js";
import { bdi, button, choice, fill, h, keepingFocus } from "./dom.js";
import { explain } from "./explain.js";
import { load } from "./kinds.js";
import { show as showConflict } from "./conflict.js";
import { show as showInbox } from "./inbox.js";
import { show as showLogin } from "./login.js";
import { LOGOUT, ME } from "./queries.js";
import { current, languages, t, use } from "./text.js";

const main = document.getElementById("main");

/** The view that is shown: what it calls to end, and whether it is still the one. */
let view = { stop() {}, over: true };
/** Who is logged in; null: not asked yet. */
let me = null;

function frame() {
  document.documentElement.lang = current();
  fill(document.getElementById("skip"), t("skip"));
  const pick = choice("language", t("languageChoice"), current(), languages(), (tag) => {
    use(tag);
    keepingFocus(frame);
    route({ isSame: true });
  });
  fill(document.getElementById("header"),
    h("a", { class: "product", href: "#/" }, h("img", { src: "/conflicts/icon.svg", alt: "", width: 28, height: 28 }), t("product")),
    h("div", { class: "tools" },
      me && h("span", { class: "who" }, bdi(me.getCurrentUser?.displayName ?? "")),
      pick,
      me && button(t("logOut"), logOut, { id: "log-out", class: "quiet" })));
}

async function logOut() {
  // The session ends on the server, too, if it can be told.
  await ask(LOGOUT).catch(() => {});
  forget();
  me = null;
  // Without the event that would show the form a second time, without the message.
  history.replaceState(null, "", "#/");
  frame();
  leave();
  showLogin(main, { message: t("login.out"), done: entered });
}

function entered() {
  route({});
}

/** Ends the view that is shown. */
function leave() {
  view.over = true;
  view.stop();
  connection("");
}

/**
 * What a view is given: `main` to fill, `title` to set, `keep` for a watch that ends with it,
 * `failed` for what it cannot handle itself, `lost` for the watch that cannot ask, `isOver` once
 * another view is shown.
 */
function context() {
  const mine = { stop() {}, over: false };
  view = mine;
  return {
    main,
    isOver: () => mine.over,
    keep(watch) {
      mine.stop = watch.stop;
      if (mine.over) watch.stop();
    },
    title(text) {
      document.title = `${text} – ${t("product")}`;
    },
    failed: (failure) => failed(failure, mine),
    lost: (failure) => {
      if (failure?.code === "UNAUTHENTICATED") failed(failure, mine);
      else connection(failure ? t("error.lost") : "");
    },
  };
}

/** Shows the view that the address names. `isSame`: it is the one that is shown, in other words. */
async function route({ isSame = false }) {
  leave();
  if (!token()) {
    me = null;
    frame();
    return showLogin(main, { done: entered });
  }
  const given = context();
  const [path, parameters] = location.hash.replace(/^#\/?/, "").split("?");
  const [place, id] = path.split("/");
  try {
    if (!me) {
      fill(main, h("p", { class: "loading" }, t("loading")));
      me = await ask(ME);
      if (given.isOver()) return;
      frame();
    }
    if (place === "conflict" && id) await showConflict(given, decodeURIComponent(id));
    else await showInbox(given, new URLSearchParams(parameters));
    if (!isSame && !given.isOver()) focusOnHeading();
  } catch (failure) {
    given.failed(failure);
  }
}

/** Whoever cannot see the page hears which view has come. */
function focusOnHeading() {
  main.querySelector("h1")?.focus();
}

/** Shows a failure in place of the view, with what to do about it. */
function failed(failure, mine) {
  if (mine.over) return;
  if (failure.code === "UNAUTHENTICATED") {
    leave();
    me = null;
    frame();
    return showLogin(main, { message: t("login.over"), done: entered });
  }
  const sentence = explain(failure);
  fill(main,
    h("div", { class: "notice bad", role: "alert" }, h("h1", { tabindex: "-1" }, sentence)),
    h("p", { class: "actions" },
      button(t("again"), () => route({}), { class: "primary" }),
      h("a", { class: "button", href: "#/" }, t("back"))));
}

await load();
window.addEventListener("hashchange", () => route({}));
frame();
route({});
