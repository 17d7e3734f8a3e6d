// Who are you? The key goes into memory, and nowhere else.

import { askJson, forgetKey, useKey } from "./api.js";
import { alertPlace, attempt, element, labelled } from "./dom.js";

/** The form. `begin` is called with who it is; `said` is why somebody was signed out. */
export function signInForm(begin, said = "") {
  const wrong = alertPlace();
  const key = element("input", { type: "password", autocomplete: "off", required: true });
  const button = element("button", { className: "main" }, "Sign in");
  const note =
    "A key (strided_...) or a token of the hospital's sign-in. This page keeps it until you sign " +
    "out, close it or leave it alone for 15 minutes.";
  const form = element(
    "form",
    { className: "sign-in" },
    element("h2", {}, "Sign in"),
    said && element("p", { className: "warning" }, said),
    labelled("Key", key),
    element("p", { className: "note" }, note),
    button,
    wrong,
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    void attempt(button, wrong, () => signIn(key, begin));
  });
  return form;
}

async function signIn(input, begin) {
  const text = input.value.trim();
  input.value = "";
  try {
    // what no header can hold is no key
    if (!/^[\x21-\x7e]+$/.test(text)) throw new Error("This is no key.");
    useKey(text, () => {});
    const caller = await askJson("/v1/caller");
    await begin(caller, text);
  } catch (error) {
    forgetKey();
    input.focus();
    if (error.code !== "unauthenticated") throw error;
    throw new Error("This key does not count: it is mistyped, or it was ended.");
  }
}
