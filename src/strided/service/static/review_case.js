// One case of the queue, and the form that decides it.

import { askJson } from "./api.js";
import { alertPlace, attempt, choice, element, labelled } from "./dom.js";
import { personSays } from "./history.js";
import { opinionOf } from "./opinion.js";
import { keptPicture } from "./picture.js";
import { localTime } from "./words.js";

const CONFLICT = 409;

/** A case; `after(said)` is called with a sentence once it is decided, here or elsewhere. */
export function reviewCase(found, session, after) {
  const wrong = alertPlace();
  const opinion = opinionOf(found, session.manifestOf(found.model));
  const form = decisionForm(found, session, (decision, button) =>
    attempt(button, wrong, async () => {
      await decide(found, decision, session, after, node);
    }),
  );
  const columns = element("div", { className: "deciding" }, opinion, form);
  if (found.has_picture) {
    void attempt(null, wrong, async () => columns.prepend(await keptPicture(found.id)));
  }
  const heading = element("h3", {}, `Case of ${localTime(found.time)}`);
  const node = element("article", { className: "case" }, heading, columns, wrong);
  return node;
}

async function decide(found, decision, session, after, node) {
  const address = `/v1/review/${encodeURIComponent(found.id)}`;
  const json = { ...decision, etag: found.review.etag };
  try {
    const now = await askJson(address, { method: "POST", json });
    await after(`Recorded: ${now.review.class}.`);
  } catch (error) {
    if (error.status !== CONFLICT) throw error;
    await showWhoWasFirst(found, error, session, after, node);
  }
}

/** Another person was quicker: nothing was recorded here, and the page says who it was. */
async function showWhoWasFirst(found, problem, session, after, node) {
  const now = await askJson(`/v1/predictions/${encodeURIComponent(found.id)}`);
  const next = element("button", { type: "button", onclick: () => after("Next.") }, "Next case");
  const text = `${problem.message} Your decision was not recorded.`;
  const told = element("p", { className: "alert", role: "alert" }, text);
  const first = element("div", { className: "first" }, told, personSays(now.review, session), next);
  node.querySelector("form").replaceWith(first);
  next.focus();
}

function decisionForm(found, session, send) {
  const names = Object.keys(found.probabilities ?? {});
  const classes = names.length ? names : session.model.manifest.classes;
  const others = classes.filter((name) => name !== found.class);
  const select = choice([["", "Choose ..."], ...others], { required: true });
  const comment = session.model.review?.comments && element("textarea", { rows: 2 });
  const more = () => (comment?.value ? { comment: comment.value } : {});
  const confirm = element(
    "button",
    { type: "button", className: "main", accessKey: "c" },
    `Confirm ${found.class}`,
  );
  confirm.addEventListener("click", () => send({ decision: "confirm", ...more() }, confirm));
  const change = element("button", { accessKey: "o" }, "Override");
  const form = element(
    "form",
    {},
    comment && labelled("Comment, without a name or anything else of the patient", comment),
    found.class && element("p", {}, confirm),
    element("div", { className: "line" }, labelled("Another class", select), change),
    keysNote(),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    void send({ decision: "override", class: select.value, ...more() }, change);
  });
  return form;
}

function keysNote() {
  return element(
    "p",
    { className: "note" },
    "Keys: Alt+C confirms, Alt+O overrides (Firefox: Alt+Shift; macOS: Ctrl+Option).",
  );
}
