// What was predicted, the newest first, and what a person said of it.

import { askJson, onlyTheLast, withQuery } from "./api.js";
import { alertPlace, attempt, choice, element, labelled, timeOf } from "./dom.js";
import { answerLine, opinionOf, routeMark } from "./opinion.js";
import { keptPicture } from "./picture.js";
import { localTime, ROUTES, whose } from "./words.js";

export const title = "History";
export const roles = ["viewer", "clinician", "auditor"];

const AT_ONCE = 25;

/** The view: those predictions that the role may see. */
export function create(session) {
  let next = null;
  const newSignal = onlyTheLast();
  const wrong = alertPlace();
  const list = element("div", { className: "rows" });
  const options = [["", "all"], ...Object.keys(ROUTES)];
  const route = choice(options, { onchange: () => load(false) });
  const more = element("button", { type: "button", onclick: () => load(true) }, "Older");
  const node = element("section", {}, labelled("Route", route), wrong, list, more);

  async function load(older) {
    await attempt(more, wrong, async () => {
      const before = older ? next : "";
      const query = { limit: AT_ONCE, before, route: route.value };
      const address = withQuery("/v1/predictions", query);
      const found = await askJson(address, { signal: newSignal() });
      if (!older) list.replaceChildren();
      list.append(...found.predictions.map((one) => predictionRow(one, session)));
      if (!list.hasChildNodes()) list.append(element("p", {}, "Nothing yet."));
      next = found.next;
      more.hidden = !next;
    });
  }

  return { node, enter: () => load(false) };
}

/** A prediction in a line that opens: the picture is asked for only then. */
export function predictionRow(found, session) {
  const who = `by ${whose(found.actor, session)}`;
  const summary = element(
    "summary",
    {},
    timeOf(found.time),
    element("strong", {}, answerLine(found)),
    routeMark(found.route),
    element("span", { className: "note" }, [who, stateOf(found.review)].filter(Boolean).join(", ")),
  );
  const row = element("details", { className: "row" }, summary);
  row.addEventListener("toggle", () => fill(row, found, session), { once: true });
  return row;
}

async function fill(row, found, session) {
  const wrong = alertPlace();
  const columns = element("div", { className: "columns" });
  const opinions = element("div", {}, opinionOf(found, session.manifestOf(found.model)));
  if (found.review) opinions.append(personSays(found.review, session));
  const model = `${found.model.name}, version ${found.model.version}`;
  columns.append(opinions);
  row.append(columns, wrong, element("p", { className: "note" }, model));
  if (found.has_picture && session.sees("picture")) {
    await attempt(null, wrong, async () => columns.prepend(await keptPicture(found.id)));
  }
}

/** The person's opinion beside the model's. */
export function personSays(review, session) {
  if (review.state === "open") return element("p", {}, "A person: not yet.");
  if (review.state === "expired") {
    return element("p", {}, "A person: nobody decided in time, and the picture was deleted.");
  }
  const verb = review.decision === "confirm" ? "confirmed" : "chose another class:";
  return element(
    "p",
    {},
    `A person (${whose(review.by, session)}, ${localTime(review.time)}) ${verb} `,
    element("strong", {}, review.class ?? ""),
    review.comment ? `. ${review.comment}` : "",
  );
}

function stateOf(review) {
  if (!review) return "";
  const words = { open: "waits for a person", expired: "nobody decided in time" };
  const decided = review.decision === "confirm" ? "confirmed" : `changed to ${review.class}`;
  return words[review.state] ?? decided;
}
