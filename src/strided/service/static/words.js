// What codes and numbers mean, in words.

export const ROUTES = {
  auto: ["auto", "The policy of this model lets it decide this case alone."],
  review: ["review", "A person decides this case."],
  urgent: ["urgent", "A person decides this case, before others."],
  refused: ["refused", "The model does not answer: it does not know pictures of this kind."],
};

export const REVIEW_MEANS =
  "The model's answer is an opinion, and not a decision. The case waits in the queue, where a " +
  "clinician confirms the class or chooses another. Both opinions are kept.";

// by code: in place of the service's words, which name settings
const REASONS = {
  urgent_class: "It was predicted as a class that a person sees first.",
  low_confidence: "Its confidence is below what the policy asks for.",
  risk_not_reached: "No threshold kept the policy's risk when it was fitted.",
  no_triage_policy: "This model has no policy, so a person decides every case.",
};

/** Why a case takes its route, as a sentence. */
export function reasonText({ code, text }) {
  return REASONS[code] ?? `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
}

/** A probability; what is not quite certain is never shown as certain. */
export function percent(share) {
  if (share > 0 && share < 0.001) return "< 0.1 %";
  if (share < 1 && share > 0.999) return "> 99.9 %";
  return `${(100 * share).toFixed(1)} %`;
}

/** Whether a value is a probability. */
export function isShare(value) {
  return typeof value === "number" && value >= 0 && value <= 1;
}

/** Whether the confidences of a version were fitted to how often it is right. */
export function isCalibrated(manifest) {
  return (manifest?.calibration?.method ?? "none") !== "none";
}

/** A time of the service, as the clock here shows it. */
export function localTime(text) {
  const time = new Date(text);
  if (Number.isNaN(time.getTime())) return text;
  return time.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
}

/** "3 pictures", "1 picture". */
export function count(number, word) {
  return `${number.toLocaleString("en")} ${word}${number === 1 ? "" : "s"}`;
}

/** Who someone is: "you", or the id of a key or a token. */
export function whose(actor, session) {
  return actor === session.id ? "you" : actor;
}
