// What the model says of one picture. A class is never shown without its confidence.

import { element } from "./dom.js";
import { isCalibrated, isShare, percent, reasonText, REVIEW_MEANS, ROUTES } from "./words.js";

const MOST_BARS = 6;

/** The class with its confidence, in one line; also for a case that has none. */
export function answerLine(found) {
  if (found.route === "refused" && !found.class) return "no class: refused";
  if (!isShare(found.confidence) || !found.class) return "no class: it came without a confidence";
  return `${found.class}, ${percent(found.confidence)}`;
}

/** All that the model says of a picture. `manifest` is of the version that answered, or null. */
export function opinionOf(found, manifest) {
  const parts = [routeOf(found)];
  if (isShare(found.confidence) && found.class) {
    parts.unshift(answerOf(found, manifest));
    parts.push(barsOf(found), setOf(found, manifest));
  } else if (found.class) {
    const text = "The service gave a class without its confidence. It is not shown.";
    parts.unshift(element("p", { className: "alert" }, text));
  } else {
    parts.unshift(element("p", { className: "answer" }, "No class"));
  }
  parts.push(distanceOf(found.uncertainty));
  return element("div", { className: "opinion" }, parts);
}

/** The route as a mark, whose colour only repeats its word. */
export function routeMark(route) {
  const [word] = ROUTES[route] ?? [String(route)];
  const kind = route in ROUTES ? route : "review";
  return element("span", { className: `mark ${kind}` }, word);
}

function answerOf(found, manifest) {
  const fitted = isCalibrated(manifest) ? "calibrated confidence" : "confidence, not calibrated";
  const kind = manifest ? fitted : "confidence";
  return element(
    "p",
    { className: "answer" },
    element("strong", {}, found.class),
    ` ${percent(found.confidence)} `,
    element("span", { className: "note" }, kind),
  );
}

function routeOf(found) {
  const [, meaning] = ROUTES[found.route] ?? ["", "A person decides this case."];
  const reasons = found.reasons.map((reason) => element("li", {}, reasonText(reason)));
  return element(
    "div",
    { className: "route" },
    element("p", {}, routeMark(found.route), ` ${meaning}`),
    reasons.length > 0 && element("ul", {}, reasons),
    found.route !== "auto" && meansReview(),
  );
}

function meansReview() {
  const summary = element("summary", {}, "What does review mean?");
  return element("details", {}, summary, element("p", {}, REVIEW_MEANS));
}

function barsOf(found) {
  const all = Object.entries(found.probabilities).sort(([, a], [, b]) => b - a);
  const rows = all.slice(0, MOST_BARS).map(([name, share]) => {
    const bar = element("span", { className: "bar" });
    bar.style.width = `${100 * share}%`;
    return element(
      "tr",
      {},
      element("th", { scope: "row" }, name),
      element("td", { className: "number" }, percent(share)),
      element("td", { className: "wide", "aria-hidden": "true" }, bar),
    );
  });
  const caption = element("caption", {}, "Probability of each class");
  const left = all.length - rows.length;
  const rest = all.slice(MOST_BARS).reduce((sum, [, share]) => sum + share, 0);
  const more = left > 0 && `${left} others have ${percent(rest)} together.`;
  const bars = element("table", { className: "bars" }, caption, element("tbody", {}, rows));
  return element("div", {}, bars, more && element("p", { className: "note" }, more));
}

function setOf(found, manifest) {
  const names = found.prediction_set;
  if (!names) return null;
  const coverage = manifest?.sets?.coverage;
  const held = coverage
    ? `Such sets hold the right class in about ${Math.round(100 * coverage)} of 100 cases like ` +
      "those that they were fitted on."
    : "";
  const text = names.length ? names.join(" or ") : "no class fits";
  return element(
    "p",
    {},
    "Prediction set: ",
    element("strong", {}, text),
    `. ${held}`,
  );
}

function distanceOf(uncertainty) {
  const ood = uncertainty?.ood;
  if (typeof ood !== "number") return null;
  const text = `Unlikeness to the training pictures: ${ood.toFixed(2)}; above 1 is refused.`;
  return element("p", { className: "note" }, text);
}
