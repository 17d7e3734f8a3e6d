// The queue: a person confirms what the model says, or chooses another class.

import { askJson, withQuery } from "./api.js";
import { alertPlace, attempt, element, focusOn, say, timeOf } from "./dom.js";
import { feedbackOf } from "./feedback.js";
import { predictionRow } from "./history.js";
import { answerLine, routeMark } from "./opinion.js";
import { reviewCase } from "./review_case.js";
import { count } from "./words.js";

export const title = "Review";
export const roles = ["clinician"];

const AT_ONCE = 50;

/** The view: the next case beside those that wait. */
export function create(session) {
  let cases = [];
  const wrong = alertPlace();
  const state = element("p", { className: "headline" });
  const again = element("button", { type: "button", onclick: () => load() }, "Look again");
  const list = element("ol", { className: "queue" });
  const place = element("div", {});
  const decided = element("details", {}, element("summary", {}, "Decided cases"));
  const judged = element("div", {});
  decided.addEventListener("toggle", () => decided.open && loadDecided());
  const node = element(
    "section",
    {},
    notices(session),
    element("div", { className: "line" }, state, again),
    wrong,
    element("div", { className: "desk" }, list, place),
    decided,
    judged,
  );

  /** Read the queue, and show its first case; with `said`, after a decision. */
  async function load(said = "") {
    await attempt(again, wrong, async () => {
      const found = await askJson(withQuery("/v1/review", { state: "open", limit: AT_ONCE }));
      cases = found.cases;
      state.textContent = `${count(found.open, "case")} open, ${found.urgent} of them urgent`;
      judged.replaceChildren(feedbackOf(found.feedback));
      show(cases[0]);
      if (said) {
        say(`${said} ${state.textContent}.`);
        focusOn(place.querySelector("h3") ?? state);
      }
      if (decided.open) await loadDecided();
    });
  }

  function show(current) {
    list.replaceChildren(...cases.map((one) => entry(one, one === current)));
    place.replaceChildren();
    if (current) place.append(reviewCase(current, session, load));
  }

  function entry(found, isCurrent) {
    const choose = () => {
      show(found);
      focusOn(place.querySelector("h3"));
    };
    const current = isCurrent ? "true" : null;
    const button = element(
      "button",
      { type: "button", "aria-current": current, onclick: choose },
      routeMark(found.route),
      element("strong", {}, answerLine(found)),
      element("span", { className: "note" }, timeOf(found.time)),
    );
    return element("li", {}, button);
  }

  async function loadDecided() {
    await attempt(null, wrong, async () => {
      const query = { state: "decided", limit: AT_ONCE };
      const found = await askJson(withQuery("/v1/review", query));
      const rows = found.cases.map((one) => predictionRow(one, session));
      const none = element("p", {}, "None yet.");
      decided.replaceChildren(decided.firstElementChild, ...(rows.length ? rows : [none]));
    });
  }

  return { node, enter: () => load() };
}

function notices(session) {
  const { exported, keep_hours: hours } = session.model.review ?? {};
  return element(
    "div",
    {},
    exported &&
      element(
        "p",
        { className: "warning" },
        "Pictures that are decided here are kept, with their class, to train other versions " +
          "(review.export).",
      ),
    hours && element("p", { className: "note" }, keeping(hours, exported)),
  );
}

function keeping(hours, exported) {
  const end = exported ? "" : "at the decision, or ";
  return `The service deletes the picture of a case ${end}after ${count(hours, "hour")}.`;
}
