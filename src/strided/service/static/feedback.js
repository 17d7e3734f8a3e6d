// How often the model was right where a person decided.

import { element, table } from "./dom.js";
import { percent } from "./words.js";

/** Accuracy on reviewed cases, with its interval, by route; and that they are no fair sample. */
export function feedbackOf(feedback) {
  if (!feedback.reviewed) return element("p", { className: "note" }, "No case is decided yet.");
  const routes = Object.entries(feedback.by_route);
  const rows = [["all", feedback], ...routes].map(([name, part]) => [
    name,
    `${part.right} of ${part.reviewed}`,
    part.accuracy === null ? "" : percent(part.accuracy),
    part.interval ? part.interval.map(percent).join(" to ") : "",
  ]);
  return element(
    "section",
    { "aria-label": "How often the model was right" },
    element("h3", {}, "How often the model was right"),
    feedback.alarm && alarm(feedback.floor),
    table("The model on reviewed cases", ["route", "right", "accuracy", "95 % interval"], rows),
    element("p", { className: "note" }, feedback.notice),
  );
}

function alarm(floor) {
  const text = `The accuracy is below the floor of ${percent(floor)}. Tell who runs the service.`;
  return element("p", { className: "warning" }, text);
}
