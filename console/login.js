// The form to log in.

import { keep } from "./account.js";
import { ask } from "./api.js";
import { explain } from "./explain.js";
import { fill, h } from "./dom.js";
import { LOGIN } from "./queries.js";
import { t } from "./text.js";

/** Shows the form, with a message above it, and calls `done` when somebody is logged in. */
export function show(main, { message = "", done }) {
  document.title = `${t("login.title")} – ${t("product")}`;
  const problem = h("p", { id: "login-problem", class: "problem", role: "alert" });
  const field = (id, type, autocomplete, more) =>
    h("div", { class: "input" },
      h("label", { for: id }, t(`login.${id}`)),
      h("input", { id, name: id, type, autocomplete, required: true, "aria-describedby": "login-problem", ...more }));
  const submit = h("button", { type: "submit", class: "primary", id: "login-submit" }, t("login.submit"));
  const form = h("form", { class: "login", on: { submit: logIn } },
    h("h1", { tabindex: "-1" }, t("login.title")),
    h("p", { class: "lead" }, t("login.lead")),
    message && h("p", { class: "notice", role: "status" }, message),
    field("email", "email", "username", { inputmode: "email", autocapitalize: "none", maxlength: 254 }),
    field("password", "password", "current-password", { maxlength: 256 }),
    problem,
    submit);

  async function logIn(event) {
    event.preventDefault();
    const { email, password } = form.elements;
    fill(problem);
    submit.disabled = true;
    try {
      const { login } = await ask(LOGIN, { input: { email: email.value, password: password.value } });
      keep(login.token);
      done();
    } catch (failure) {
      const isWrong = ["BAD_USER_INPUT", "UNAUTHENTICATED"].includes(failure.code);
      fill(problem, isWrong ? t("login.wrong") : explain(failure));
      submit.disabled = false;
      if (isWrong) password.value = "";
      (isWrong ? password : submit).focus();
    }
  }

  fill(main, form);
  form.elements.email.focus();
}
