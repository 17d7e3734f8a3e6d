// The model that answers; an admin lets another version answer.

import { askJson } from "./api.js";
import { alertPlace, attempt, choice, element, facts, labelled, say, timeOf } from "./dom.js";
import { confirmed } from "./dialog.js";
import { isCalibrated, percent } from "./words.js";

export const title = "Model";
export const roles = ["viewer", "clinician", "admin", "auditor"];

/** The view. */
export function create(session) {
  const wrong = alertPlace();
  const shown = element("div", {});
  const node = element("section", {}, shown, wrong);

  async function enter() {
    await attempt(null, wrong, async () => {
      await session.refresh();
      shown.replaceChildren(about(session.model));
      if (session.sees("admin")) shown.append(changes(session.model, wrong, enter));
    });
  }

  return { node, enter };
}

function about({ active, manifest }) {
  return element(
    "div",
    {},
    element("p", { className: "headline" }, `${active.name}, version ${active.version}`),
    facts([
      ["meant for", manifest.intended_use ?? "not said"],
      ["classes", manifest.classes.join(", ")],
      ["accuracy", accuracyOf(manifest.metrics)],
      ["confidence", isCalibrated(manifest) ? "calibrated" : "not calibrated"],
      ["refuses strange pictures", manifest.gate ? "yes" : "no"],
      ["decides alone", manifest.triage?.threshold != null ? "the surest cases" : "no case"],
      ["made", timeOf(manifest.created)],
      ["sha256", active.sha256],
    ]),
    element("p", { className: "note" }, manifest.notice),
  );
}

/** The accuracy of the run's test, or of its validation. */
function accuracyOf(metrics) {
  const split = ["test", "val"].find((name) => typeof metrics[`${name}/acc`] === "number");
  if (!split) return "not measured";
  const interval = metrics[`${split}/acc_ci95`];
  const between = Array.isArray(interval) ? interval.map(percent).join(" to ") : "";
  const within = between && ` (95 % interval ${between})`;
  const word = split === "test" ? "test" : "validation";
  return `${percent(metrics[`${split}/acc`])} of the ${word} images${within}`;
}

function changes({ active, available }, wrong, after) {
  const others = available.filter((version) => version !== active.version).map(String);
  const version = choice(others.length ? others : [["", "none"]]);
  const activate = element("button", { className: "main", disabled: !others.length }, "Activate");
  const back = element("button", { type: "button" }, "Roll back");
  const form = element(
    "form",
    { className: "line" },
    labelled("Another version", version),
    activate,
    back,
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const address = `/v1/models/${encodeURIComponent(version.value)}/activate`;
    const question = `Shall version ${version.value} of ${active.name} answer from now on?`;
    void change(activate, wrong, address, question, after);
  });
  back.addEventListener("click", () => {
    const question = "Shall the version that answered before this one answer again?";
    void change(back, wrong, "/v1/models/rollback", question, after);
  });
  return form;
}

async function change(button, wrong, address, question, after) {
  if (!(await confirmed(question, button.textContent))) return;
  await attempt(button, wrong, async () => {
    const { model } = await askJson(address, { method: "POST" });
    await after();
    say(`Version ${model.version} of ${model.name} answers.`);
  });
}
