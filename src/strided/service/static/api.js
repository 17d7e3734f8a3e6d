// Requests to the service. The key is a variable of this module, and is kept nowhere else.

let key = "";
let session = new AbortController();
let refused = () => {};

/** What the service answers in place of what was asked for; status 0: it was not reached. */
export class Problem extends Error {
  constructor(status, code, detail) {
    super(detail);
    this.status = status;
    this.code = code;
  }
}

/** Show this key from now on; `whenRefused` is called once it counts no more. */
export function useKey(text, whenRefused) {
  key = text;
  refused = whenRefused;
}

/** Forget the key, and end what is on its way. */
export function forgetKey() {
  key = "";
  refused = () => {};
  session.abort();
  session = new AbortController();
}

/**
 * Ask the service, and return its Response. Throws Problem.
 *
 * With `onWait`, an answer that says when to try again is waited for; else it is a Problem too.
 */
export async function ask(path, { method = "GET", body, json, signal, onWait } = {}) {
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  if (json !== undefined) headers["Content-Type"] = "application/json";
  const content = json === undefined ? body : JSON.stringify(json);
  const until = signal ? AbortSignal.any([session.signal, signal]) : session.signal;
  const options = { method, headers, body: content, signal: until, cache: "no-store" };
  for (;;) {
    const response = await sent(path, options);
    if (response.ok) return response;
    const problem = await problemOf(response);
    if (problem.status === 401) refused(problem);
    const seconds = Number(response.headers.get("Retry-After"));
    if (!onWait || !seconds) throw problem;
    onWait(problem);
    await pause(seconds, until);
  }
}

/** Ask the service, and return the value of its JSON. Throws Problem. */
export async function askJson(path, options) {
  const response = await ask(path, options);
  return response.json();
}

/** An address with those parameters that have a value. */
export function withQuery(path, parameters) {
  const given = Object.entries(parameters).filter(([, value]) => value !== "" && value != null);
  const query = new URLSearchParams(given).toString();
  return query ? `${path}?${query}` : path;
}

/** Make signals, each of which stops what the one before was given to: the last question counts. */
export function onlyTheLast() {
  let stop = new AbortController();
  return () => {
    stop.abort();
    stop = new AbortController();
    return stop.signal;
  };
}

/** Whether an error is none: somebody has signed out, or stopped what was on its way. */
export function isStopped(error) {
  return error.name === "AbortError";
}

async function sent(path, options) {
  try {
    return await fetch(path, options);
  } catch (error) {
    if (isStopped(error)) throw error;
    throw new Problem(0, "unreachable", "The service cannot be reached. Try again.");
  }
}

async function problemOf(response) {
  try {
    const said = await response.json();
    return new Problem(response.status, said.code, said.detail);
  } catch {
    return new Problem(response.status, "unknown", `The service answered ${response.status}.`);
  }
}

function pause(seconds, signal) {
  signal.throwIfAborted();
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, 1000 * seconds);
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    signal.addEventListener("abort", stop, { once: true });
  });
}
