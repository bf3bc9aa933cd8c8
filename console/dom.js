// Makes elements. Text becomes text nodes and never markup, wherever it comes from: nothing on this
// page goes through a parser of HTML.

/**
 * An element. `properties`: `on` holds listeners, `value`, `checked` and `indeterminate` are set on
 * the element, everything else is an attribute (true: without a value; false, null, undefined: not
 * there). Children are nodes, texts, lists of these, or nothing.
 */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "on") {
      for (const [event, listener] of Object.entries(value)) {
        element.addEventListener(event, listener);
      }
    } else if (["value", "checked", "indeterminate"].includes(name)) {
      // After the children: a select takes no value that it has no option for.
      continue;
    } else if (value === true) {
      element.setAttribute(name, "");
    } else if (value !== false && value !== null && value !== undefined) {
      element.setAttribute(name, value);
    }
  }
  element.append(...present(children));
  for (const name of ["value", "checked", "indeterminate"]) {
    if (properties[name] !== undefined) element[name] = properties[name];
  }
  return element;
}

function present(children) {
  return children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
}

/** People's text inside a sentence of ours: its direction changes nothing around it. */
export function bdi(text) {
  return h("bdi", { dir: "auto", class: "user-text" }, text);
}

/** Replaces what is in an element. */
export function fill(element, ...children) {
  element.replaceChildren(...present(children));
  return element;
}

/** Runs `change`, which builds a view anew, and gives the focus back to the element of the same id. */
export function keepingFocus(change) {
  const id = document.activeElement?.id;
  change();
  if (id) document.getElementById(id)?.focus({ preventScroll: true });
}

/** A button that says what it does. */
export function button(label, onclick, properties = {}) {
  return h("button", { type: "button", ...properties, on: { click: onclick } }, label);
}

/** A select with its label; `options` are [value, text]. */
export function choice(id, label, value, options, onchange) {
  return h("div", { class: "choice" },
    h("label", { for: id }, label),
    h("select", { id, value, on: { change: (event) => onchange(event.target.value) } },
      options.map(([value, text]) => h("option", { value }, text))));
}
