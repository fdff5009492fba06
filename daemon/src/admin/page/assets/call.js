// The box that calls a service: a subject and a message come in, the answer goes out, or the failure
// and what it means for whoever would try again.

import { inWords, send } from "./api.js";
import { byId, element } from "./dom.js";
import { brief, latency } from "./format.js";
import { pill } from "./states.js";

const MEANING = {
  not_sent: "No instance was given the call. It is safe to try again.",
  refused: "An instance turned it away before its handler ran. It is safe to try again.",
  maybe_executed:
    "It left for an instance, and no answer says what became of it: it may have been done. " +
    "Try again only if doing it twice does no harm.",
  executed: "The handler ran, and answered with an error. To try again is to have it run again.",
};

/** Characters of an answer that are shown. */
const LONGEST = 20_000;

export class Call {
  #made = 0;

  constructor() {
    byId("call-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#call();
    });
  }

  /** Fills the subject in. */
  of(subject) {
    byId("call-subject").value = subject;
    byId("call-body").focus();
  }

  async #call() {
    const made = ++this.#made;
    const told = await this.#ask();
    if (made === this.#made) byId("called").replaceChildren(...told);
  }

  async #ask() {
    let body;
    try {
      body = JSON.parse(byId("call-body").value || "null");
    } catch (error) {
      return [wrong(`The message is no JSON: ${error.message}`)];
    }
    const request = { subject: byId("call-subject").value.trim(), body };
    const timeout = byId("call-timeout").value.trim();
    if (timeout) request.timeout_ms = Number(timeout);
    try {
      const called = await send("/api/v1/call", request);
      return called.answered ? answered(called) : failed(called);
    } catch (error) {
      return [wrong(inWords(error))];
    }
  }
}

const wrong = (text) => element("p", { class: "wrong" }, text);

function answered(called) {
  return [element("p", { class: "verdict" }, pill("answered", "good"), " ", facts(called)), body(called)];
}

function failed(called) {
  const told = [
    element(
      "p",
      { class: "verdict" },
      pill(called.code, "bad"),
      " ",
      pill(called.certainty, "idle"),
      " ",
      facts(called),
    ),
    element("p", {}, called.message),
    element("p", { class: "meaning" }, MEANING[called.certainty] ?? ""),
  ];
  if (called.retry_after_ms) {
    told.push(element("p", {}, `It may be tried again after ${latency(called.retry_after_ms)}.`));
  }
  if (called.body !== undefined && called.body !== null) told.push(body(called));
  return told;
}

function facts({ instance, took_ms: took }) {
  const who = instance ? `instance ${brief(instance)}, ` : "";
  return element("span", { class: "faint" }, `${who}after ${latency(took)}`);
}

function body({ body, encoding }) {
  const text = encoding === "json" ? JSON.stringify(body, null, 2) : body;
  const cut = text.length > LONGEST ? `${text.slice(0, LONGEST)}\n… ${text.length - LONGEST} more characters` : text;
  const label = encoding === "json" ? "Answer" : `Answer, as ${encoding}`;
  return element("pre", { tabindex: "0", role: "region", "aria-label": label }, cut);
}
