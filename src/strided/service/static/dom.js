// Elements. What the service says is only ever set as text, never as markup.

import { isStopped } from "./api.js";
import { localTime } from "./words.js";

/**
 * Make an element of properties (`className`, `onclick`, `aria-label`) and of nodes or texts.
 *
 * What is null, undefined or false is left out.
 */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children.flat().filter((child) => child != null && child !== false));
  return made;
}

/** A label above its input. */
export function labelled(text, input) {
  return element("label", { className: "field" }, element("span", {}, text), input);
}

/** A select of values, or of pairs of a value and its text. */
export function choice(options, properties = {}) {
  const made = options.map((option) => {
    const [value, text] = Array.isArray(option) ? option : [option, option];
    return element("option", { value }, text);
  });
  return element("select", properties, ...made);
}

/** A table that scrolls by itself where it is too wide. Rows are lists of texts or nodes. */
export function table(caption, heads, rows) {
  const head = element("tr", {}, heads.map((text) => element("th", { scope: "col" }, text)));
  const lines = rows.map((row) =>
    element("tr", {}, row.map((cell) => element("td", {}, cell ?? ""))),
  );
  const made = element(
    "table",
    {},
    element("caption", { className: "unseen" }, caption),
    element("thead", {}, head),
    element("tbody", {}, lines),
  );
  const box = { className: "scroll", tabIndex: 0, role: "region", "aria-label": caption };
  return element("div", box, made);
}

/** A time of the service, as an element. */
export function timeOf(text) {
  return element("time", { dateTime: text }, localTime(text));
}

/** Names and values, as a list of descriptions. */
export function facts(pairs) {
  const lines = pairs.map(([name, value]) =>
    element("div", {}, element("dt", {}, name), element("dd", {}, value)),
  );
  return element("dl", { className: "facts" }, lines);
}

/** Tell those who listen to the page, too. */
export function say(text) {
  document.getElementById("said").textContent = text;
}

/** Move the focus to a heading or another element that no key reaches. */
export function focusOn(node) {
  node.tabIndex = -1;
  node.focus();
}

/** A place for what goes wrong, which is read out at once. */
export function alertPlace() {
  return element("p", { className: "alert", role: "alert" });
}

/** Do `work` with `button` switched off; say in `place` what went wrong. */
export async function attempt(button, place, work) {
  place.textContent = "";
  if (button) button.disabled = true;
  try {
    await work();
  } catch (error) {
    if (!isStopped(error)) place.textContent = error.message;
  } finally {
    if (button) button.disabled = false;
  }
}
