// Keys: an admin makes and ends them. The text of a new one is shown once.

import { askJson } from "./api.js";
import {
  alertPlace, attempt, choice, element, focusOn, labelled, say, table, timeOf,
} from "./dom.js";
import { confirmed } from "./dialog.js";
import { whose } from "./words.js";

export const title = "Keys";
export const roles = ["admin"];

const ROLES = ["clinician", "viewer", "auditor", "admin"];
const HEADS = ["id", "role", "made", "by", "ended"];

/** The view. */
export function create(session) {
  const wrong = alertPlace();
  const made = element("div", {});
  const list = element("div", {});
  const role = choice(ROLES);
  const make = element("button", { className: "main" }, "Make a key");
  const form = element("form", { className: "line" }, labelled("Role of a new key", role), make);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    void attempt(make, wrong, async () => {
      const key = await askJson("/v1/keys", { method: "POST", json: { role: role.value } });
      made.replaceChildren(shownOnce(key, made));
      focusOn(made.firstElementChild);
      await load();
    });
  });
  const node = element("section", {}, form, made, wrong, list);

  async function load() {
    const { keys } = await askJson("/v1/keys");
    const rows = keys.map((key) => [
      key.id,
      key.role,
      timeOf(key.created),
      whose(key.created_by, session),
      key.revoked ? timeOf(key.revoked) : ending(key),
    ]);
    list.replaceChildren(table("Keys", HEADS, rows));
  }

  function ending(key) {
    const name = `End key ${key.id}`;
    const button = element("button", { type: "button", "aria-label": name }, "End");
    button.addEventListener("click", async () => {
      const own = key.id === session.id ? " It is your own." : "";
      const question = `Shall key ${key.id} (${key.role}) end? Who shows it is refused then.${own}`;
      if (!(await confirmed(question, name))) return;
      await attempt(button, wrong, async () => {
        await askJson(`/v1/keys/${encodeURIComponent(key.id)}`, { method: "DELETE" });
        say(`Key ${key.id} has ended.`);
        await load();
      });
    });
    return button;
  }

  return {
    node,
    enter: () => attempt(null, wrong, load),
    leave: () => made.replaceChildren(),
  };
}

function shownOnce(key, place) {
  const close = () => place.replaceChildren();
  const done = element("button", { type: "button", onclick: close }, "Done");
  return element(
    "div",
    { className: "warning" },
    element("p", {}, `A new key for the role ${key.role}. It is shown this once: write it down.`),
    element("p", {}, element("code", {}, key.key)),
    done,
  );
}
