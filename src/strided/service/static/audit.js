// The audit: its rows, whether they are whole, and all of them as a file.

import { ask, askJson, onlyTheLast, withQuery } from "./api.js";
import { alertPlace, attempt, choice, element, facts, labelled, say, table } from "./dom.js";
import { count } from "./words.js";

export const title = "Audit";
export const roles = ["auditor"];

const AT_ONCE = 50;
const ACTIONS = [
  "predict", "view", "review", "review_expired", "denied", "login_failed",
  "key_made", "key_revoked",
  "model_change", "model_changed", "model_kept", "audit_read", "audit_verified",
  "audit_exported", "study_sought", "started", "stopped", "not_recorded",
];
const HMAC = /^[0-9a-f]{64}$/;
const HEADS = ["seq", "time (UTC)", "actor", "role", "action", "route", "model"];

/** The view. */
export function create() {
  let rows = [];
  const newSignal = onlyTheLast();
  const wrong = alertPlace();
  const found = element("div", {});
  const action = choice([["", "all"], ...ACTIONS]);
  const actor = element("input", { autocomplete: "off", spellcheck: false });
  const object = element("input", { autocomplete: "off", spellcheck: false });
  const more = element("button", { type: "button", onclick: () => load(true) }, "Older");
  const filter = element(
    "form",
    { className: "line" },
    labelled("Action", action),
    labelled("Actor", actor),
    labelled("Study (its UID), or its HMAC", object),
    element("button", { className: "main" }, "Filter"),
  );
  filter.addEventListener("submit", (event) => {
    event.preventDefault();
    void load(false);
  });
  const node = element("section", {}, checks(wrong), filter, wrong, found, more);

  async function load(older) {
    await attempt(more, wrong, async () => {
      const query = {
        limit: AT_ONCE,
        before: older ? rows.at(-1).seq : "",
        action: action.value,
        actor: actor.value.trim(),
        object: await objectOf(object.value.trim()),
      };
      const page = await askJson(withQuery("/v1/audit", query), { signal: newSignal() });
      rows = older ? [...rows, ...page.rows] : page.rows;
      found.replaceChildren(table("Rows of the audit", HEADS, rows.map(cells)));
      more.hidden = page.rows.length < AT_ONCE;
      say(`${count(rows.length, "row")} shown.`);
    });
  }

  return { node, enter: () => load(false) };
}

/** What the audit calls a study. No address has its UID, since addresses are logged. */
async function objectOf(text) {
  if (!text || HMAC.test(text)) return text;
  const json = { uid: text };
  const found = await askJson("/v1/audit/study", { method: "POST", json });
  return found.object;
}

function checks(wrong) {
  const result = element("p", { role: "status" });
  const verify = element("button", { type: "button", className: "main" }, "Verify");
  verify.addEventListener("click", () =>
    attempt(verify, wrong, async () => {
      result.textContent = "Checking ...";
      const found = await askJson("/v1/audit/verify");
      result.className = found.bad === null && !found.why ? "good" : "alert";
      result.textContent = verdict(found);
    }),
  );
  const exports = ["csv", "jsonl"].map((format) => {
    const button = element("button", { type: "button" }, `Export ${format.toUpperCase()}`);
    button.addEventListener("click", () => attempt(button, wrong, () => download(format)));
    return button;
  });
  return element("div", {}, element("p", { className: "line" }, verify, ...exports), result);
}

function verdict(found) {
  if (found.bad !== null) return `Row ${found.bad} is not as it was written: ${found.why}`;
  if (found.why) return `${count(found.rows, "row")}, each as it was written, but ${found.why}.`;
  const anchored = found.anchored
    ? "The anchor agrees."
    : "There is no anchor, so an end that was cut off would not be seen.";
  return `${count(found.rows, "row")}, each as it was written. ${anchored}`;
}

/** Save all rows: the key is in a header, so that no address holds it. */
async function download(format) {
  const response = await ask(withQuery("/v1/audit/export", { format }));
  const address = URL.createObjectURL(await response.blob());
  const link = element("a", { href: address, download: `audit.${format}` });
  link.click();
  URL.revokeObjectURL(address);
}

function cells(row) {
  const model = row.model ? `${row.model} ${row.version}` : "";
  const time = element("time", { dateTime: row.time }, row.time.slice(0, 19).replace("T", " "));
  return [opener(row), time, row.actor, row.role, row.action, row.route, model];
}

/** The number of a row, as a button that shows all of the row below it, and hides it again. */
function opener(row) {
  const label = `All of row ${row.seq}`;
  const button = element("button", { type: "button", "aria-label": label }, `${row.seq}`);
  button.ariaExpanded = "false";
  const below = restOf(row);
  button.addEventListener("click", () => {
    const isOpen = below.isConnected;
    if (isOpen) below.remove();
    else button.closest("tr").after(below);
    button.ariaExpanded = isOpen ? "false" : "true";
  });
  return button;
}

function restOf(row) {
  const pairs = Object.entries(row).filter(([, value]) => value !== null);
  const texts = pairs.map(([name, value]) => [name, `${value}`]);
  return element("tr", {}, element("td", { colSpan: HEADS.length }, facts(texts)));
}
