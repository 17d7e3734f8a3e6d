// Nobody at the page: whoever comes next must not act in the name of who has left.

import { element } from "./dom.js";

const QUIET = 14 * 60; // seconds, after which the page asks
const ASKS = 60; // seconds, after which it signs out
const SIGNS = ["pointerdown", "keydown", "wheel"];

/** Call `leave` after 15 minutes without a sign of anybody; returns what ends the watch. */
export function watchIdle(leave) {
  let timer = 0;
  let dialog = null;

  function heard() {
    clearTimeout(timer);
    dialog?.remove();
    dialog = null;
    timer = setTimeout(warn, 1000 * QUIET);
  }

  function warn() {
    const stay = element("button", { type: "button", className: "main", onclick: heard }, "Stay");
    const question = "Is somebody there?";
    const text = element("p", {}, `${question} You are signed out in ${ASKS} seconds.`);
    dialog = element("dialog", { "aria-label": question }, text, stay);
    document.body.append(dialog);
    dialog.showModal();
    timer = setTimeout(leave, 1000 * ASKS);
  }

  for (const sign of SIGNS) addEventListener(sign, heard, { passive: true });
  heard();
  return () => {
    clearTimeout(timer);
    dialog?.remove();
    for (const sign of SIGNS) removeEventListener(sign, heard);
  };
}
