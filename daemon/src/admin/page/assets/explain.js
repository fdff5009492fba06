// The box that explains a subject: a subject, and a time if it is to be the past, come in; what the node
// says of it goes out.

import { ask, inWords } from "./api.js";
import { showInstances } from "./chosen.js";
import { broken, byId, element } from "./dom.js";
import { brief, moment, named, plural } from "./format.js";

const listOf = (...items) => element("ul", { class: "plain" }, ...items);

export class Explain {
  #asked = 0;

  constructor() {
    byId("explain-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#explain();
    });
  }

  /** Fills the box in and asks; `at` is a time in words, or nothing for now. */
  of(subject, at = "") {
    byId("explain-subject").value = subject;
    byId("explain-at").value = at;
    byId("explain-subject").focus();
    this.#explain();
  }

  async #explain() {
    const subject = byId("explain-subject").value.trim();
    const at = byId("explain-at").value.trim();
    const asked = ++this.#asked;
    const told = await this.#ask(subject, at);
    if (asked === this.#asked) byId("explained").replaceChildren(...told);
  }

  async #ask(subject, at) {
    try {
      const explained = await ask("/api/v1/explain", { subject, at });
      return at ? ofThen(explained) : ofNow(explained);
    } catch (error) {
      return [element("p", { class: "wrong" }, inWords(error))];
    }
  }
}

function verdict(winner, of, when = "") {
  if (!winner) return element("p", { class: "verdict" }, `${when}No pattern matches.`);
  return element(
    "p",
    { class: "verdict" },
    when,
    element("code", {}, ...broken(winner.pattern)),
    ` ${of}, with ${plural(winner.instances, "instance")}.`,
  );
}

function ofNow({ winner, runners_up: runners, near_misses: misses }) {
  const told = [verdict(winner, "wins")];
  if (winner) {
    const list = element("ul", { class: "instances" });
    showInstances(list, winner.listed);
    told.push(list);
  }
  if (runners.length > 0) {
    const shorter = runners.map((runner) =>
      element("li", {}, element("code", {}, ...broken(runner.pattern)), `, ${plural(runner.instances, "instance")}`),
    );
    told.push(element("h3", {}, "Shorter ones that match"), listOf(...shorter));
  }
  if (misses.length > 0) {
    told.push(element("h3", {}, "Nearly"), listOf(...misses.map(missed)));
  }
  return told;
}

function missed({ pattern, field, wanted, found }) {
  const has = found === null ? "the subject ends before" : `the subject has ${found}`;
  return element("li", {}, element("code", {}, ...broken(pattern)), `: field ${field} is ${wanted}; ${has}`);
}

function ofThen({ at, winner }) {
  const told = [verdict(winner, "won", `At ${moment(at)} UTC: `)];
  if (winner) {
    const owners = winner.listed.map(({ instance, identity, last }) => {
      const since = last ? `${last.what} at ${moment(last.at)}` : "since before all that is known";
      return element(
        "li",
        { title: `instance ${instance}` },
        element("div", { class: "who" }, element("span", { class: "name" }, named(identity))),
        element("div", { class: "faint" }, [brief(instance), since, place(last?.node)].filter(Boolean).join(" · ")),
      );
    });
    told.push(element("ul", { class: "instances" }, ...owners));
  }
  return told;
}

/** Where the history says that an instance was connected. */
function place(node) {
  if (!node) return null;
  return node === "here" ? "at this node" : `at ${node.address}`;
}
