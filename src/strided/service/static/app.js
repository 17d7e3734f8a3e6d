// The page of the service: who is signed in, and which view is shown.

import { askJson, forgetKey, useKey } from "./api.js";
import { element, focusOn, say } from "./dom.js";
import * as audit from "./audit.js";
import * as history from "./history.js";
import { watchIdle } from "./idle.js";
import * as keys from "./keys.js";
import * as model from "./model.js";
import * as predict from "./predict.js";
import * as review from "./review.js";
import { signInForm } from "./sign_in.js";

const VIEWS = { predict, review, audit, history, model, keys };
const ANYBODY = "any"; // the role where no key is asked for
const asksForKey = document.documentElement.dataset.access === "key";

const main = document.getElementById("main");
const nav = document.getElementById("nav");
const who = document.getElementById("who");

let session = null;
let current = null;
let stopWatching = () => {};

/** What the views know of who is signed in, and of the model. */
class Session {
  constructor({ id, role, limits }) {
    this.id = id;
    this.role = role;
    this.limits = limits;
    this.model = null;
    this.views = new Map();
  }

  /** Read the facts of the active model. Throws Problem. */
  async refresh() {
    this.model = await askJson("/v1/model");
  }

  /** The manifest of the version that answered, if it is the active one; else null. */
  manifestOf(found) {
    return found.sha256 === this.model.active.sha256 ? this.model.manifest : null;
  }

  /** Whether the role sees kept pictures ("picture"), or may change things ("admin"). */
  sees(what) {
    return this.has([what === "picture" ? "clinician" : what]);
  }

  has(roles) {
    return this.role === ANYBODY || roles.includes(this.role);
  }
}

async function begin(caller, key) {
  const found = new Session(caller);
  await found.refresh();
  session = found;
  if (key) {
    useKey(key, () => signOut("You were signed out: the key no longer counts."));
    stopWatching = watchIdle(() => signOut("You were signed out: nobody was at the page."));
  }
  showNames();
  showView();
}

function signOut(said) {
  if (!session) return;
  stopWatching();
  for (const view of session.views.values()) view.end?.();
  for (const dialog of document.querySelectorAll("dialog")) dialog.close();
  forgetKey();
  session = current = null;
  nav.replaceChildren();
  who.replaceChildren();
  main.replaceChildren(signInForm(begin, said));
  main.querySelector("input").focus();
  document.title = "strided";
  say(said);
}

/** The views of the role, and who it is. */
function showNames() {
  const links = Object.entries(VIEWS)
    .filter(([, view]) => session.has(view.roles))
    .map(([name, view]) => element("a", { href: `#${name}` }, view.title));
  nav.replaceChildren(...links);
  if (!asksForKey) return;
  const leave = element("button", { type: "button" }, "Sign out");
  leave.addEventListener("click", () => signOut("You are signed out."));
  who.replaceChildren(element("span", {}, `${session.role}, ${session.id}`), leave);
}

/** Show the view that the address names, or the first one of the role. */
function showView() {
  if (!session) return;
  const links = [...nav.children];
  const link = links.find((one) => one.hash === location.hash) ?? links[0];
  const name = link.hash.slice(1);
  for (const one of links) one.ariaCurrent = one === link ? "page" : null;
  current?.leave?.();
  if (!session.views.has(name)) session.views.set(name, VIEWS[name].create(session));
  current = session.views.get(name);
  const heading = element("h2", {}, VIEWS[name].title);
  main.replaceChildren(heading, current.node);
  document.title = `${VIEWS[name].title}: strided`;
  focusOn(heading);
  void current.enter?.();
}

async function start() {
  addEventListener("hashchange", () => {
    if (location.hash === "#main") main.focus();
    else showView();
  });
  // a page that comes back from the browser's memory has nobody signed in
  if (asksForKey) addEventListener("pagehide", () => signOut("You are signed out."));
  // a file that misses its place would else take the place of the page
  for (const kind of ["dragover", "drop"]) {
    addEventListener(kind, (event) => event.preventDefault());
  }
  if (asksForKey) {
    main.replaceChildren(signInForm(begin));
    main.querySelector("input").focus();
  } else {
    await begin(await askJson("/v1/caller"), "");
  }
}

start().catch((error) => {
  main.replaceChildren(element("p", { className: "alert", role: "alert" }, error.message));
});
