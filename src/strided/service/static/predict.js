// Pictures are dropped or chosen, sent one after another, and shown with what the model says.

import { askJson, isStopped } from "./api.js";
import { element, say } from "./dom.js";
import { opinionOf } from "./opinion.js";
import { pictureOf } from "./picture.js";
import { count, localTime } from "./words.js";

export const title = "Read pictures";
export const roles = ["clinician"];

const ADDRESS = "/v1/predict?heatmap=true&picture=true";
const FORM_BYTES = 1024; // that a form takes beside its file

/** The view; `session` says how much may be sent at once. */
export function create(session) {
  const waiting = [];
  let stop = null; // while files are on their way
  let done = 0;
  let failed = 0;

  const bar = element("progress", { "aria-label": "Pictures read", max: 1, value: 0 });
  const state = element("span", {});
  const stopping = element("button", { type: "button", onclick: () => stop.abort() }, "Stop");
  const progress = element("p", { className: "progress", hidden: true }, bar, state, stopping);
  const found = element("div", { className: "cases" });
  const clearing = element("button", { type: "button", onclick: clear, hidden: true }, "Clear");
  const node = element("section", {}, dropPlace(take), progress, found, clearing);

  function take(files) {
    for (const file of files) {
      const item = caseOf(file.name);
      found.append(item.node);
      waiting.push({ file, item });
    }
    clearing.hidden = true;
    if (!stop) void sendAll();
    else showProgress();
  }

  async function sendAll() {
    stop = new AbortController();
    progress.hidden = false;
    done = failed = 0;
    while (waiting.length > 0) {
      showProgress();
      await sendNext(waiting.shift());
      done += 1;
    }
    stop = null;
    progress.hidden = true;
    clearing.hidden = false;
    say(`${count(done, "picture")} read${failed ? `, ${failed} of them without an answer` : ""}.`);
  }

  async function sendNext({ file, item }) {
    try {
      item.show(await send(file, session, item, stop.signal), session);
    } catch (error) {
      failed += 1;
      item.fail(isStopped(error) ? "Stopped." : error.message);
    }
  }

  function showProgress() {
    bar.max = done + 1 + waiting.length;
    bar.value = done;
    state.textContent = `${done} of ${count(bar.max, "picture")} read`;
  }

  function clear() {
    found.replaceChildren();
    clearing.hidden = true;
    node.querySelector("input").focus();
  }

  /** Send nothing more: nobody is signed in. */
  function end() {
    waiting.length = 0;
    stop?.abort();
  }

  return { node, end };
}

function dropPlace(take) {
  const input = element("input", { type: "file", multiple: true });
  input.addEventListener("change", () => {
    take([...input.files]);
    input.value = ""; // so that the same file can be chosen again
  });
  const text = "Drop JPEG, PNG or DICOM files here, or choose them";
  const place = element("label", { className: "drop" }, element("span", {}, text), input);
  place.addEventListener("dragover", () => place.classList.add("over"));
  place.addEventListener("dragleave", () => place.classList.remove("over"));
  place.addEventListener("drop", (event) => {
    place.classList.remove("over");
    take([...event.dataTransfer.files]);
  });
  const note = "Names of files stay in this browser. Of a DICOM file only the picture is read.";
  return element("div", {}, place, element("p", { className: "note" }, note));
}

/** Send one file, under a name that is nobody's; wait as often as the service says so. */
async function send(file, session, item, signal) {
  const most = session.limits.body_bytes;
  if (file.size + FORM_BYTES > most) {
    throw new Error(`It is larger than the ${Math.floor(most / 2 ** 20)} MiB that may be sent.`);
  }
  const body = new FormData();
  body.append("file", file, "picture");
  item.wait("Being read ...");
  const onWait = () => item.wait("The service is busy; it is sent again ...");
  const answer = await askJson(ADDRESS, { method: "POST", body, signal, onWait });
  if (answer.model.sha256 !== session.model.active.sha256) {
    await session.refresh().catch(() => {}); // it is answered and recorded, whatever fails here
  }
  return answer;
}

/** A file's place in the page: waiting, then its answer or what went wrong. */
function caseOf(name) {
  const state = element("p", { className: "note" }, "Waiting ...");
  const node = element("article", { className: "case" }, element("h3", {}, name), state);
  return {
    node,
    wait: (text) => {
      state.textContent = text;
    },
    fail: (text) => {
      state.className = "alert";
      state.textContent = text;
    },
    show: (answer, session) => {
      const [result] = answer.results;
      const { name: model, version } = answer.model;
      state.textContent = `${model}, version ${version}, ${localTime(new Date())}`;
      const figure = result.picture && pictureOf(result.picture, result.heatmap);
      const opinion = opinionOf(result, session.manifestOf(answer.model));
      const columns = element("div", { className: "columns" }, figure, opinion);
      node.insertBefore(columns, state);
    },
  };
}
