// The queue: a person confirms what the model says, or chooses another class.

import { askJson, onlyTheLast, withQuery } from "./api.js";
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
  const newSignal = onlyTheLast();
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
      const address = withQuery("/v1/review", { state: "open", limit: AT_ONCE });
      const found = await askJson(address, { signal: newSignal() });
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
        "A copy of each picture that is decided here is kept, with its class, to train other " +
          "versions (review.export).",
      ),
    hours && element("p", { className: "note" }, keeping(hours)),
  );
}

function keeping(hours) {
  const end = `at the decision, or after ${count(hours, "hour")}`;
  return `The service deletes its picture of a case ${end}.`;
}
