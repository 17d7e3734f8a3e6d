// A question before what cannot be taken back.

import { element } from "./dom.js";

/** Ask in a dialog; resolves to whether the answer is yes. */
export function confirmed(question, verb) {
  const no = element("button", { value: "no" }, "Cancel");
  const yes = element("button", { value: "yes", className: "main" }, verb);
  const form = element("form", { method: "dialog" }, no, yes);
  const dialog = element("dialog", { "aria-label": verb }, element("p", {}, question), form);
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
  });
}
