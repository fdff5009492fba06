// Who serves the pattern that was chosen: what the node explains of it comes in, again and again while
// it is shown, a list of its instances goes out.

import { ask, inWords } from "./api.js";
import { broken, byId, element, reconcile, setText } from "./dom.js";
import { brief, count, latency, named, plural } from "./format.js";
import { pill, setPill, toneOf } from "./states.js";

const AGAIN = 2_000;

export class Chosen {
  #pattern = null;
  #isReading = false;

  /** `acts` are `explain`, `call` and `changes`, each of a pattern. */
  constructor(acts) {
    for (const [name, act] of Object.entries(acts)) {
      byId(`chosen-${name}`).addEventListener("click", () => act(this.#pattern));
    }
    setInterval(() => this.changed(), AGAIN);
  }

  show(pattern) {
    this.#pattern = pattern;
    byId("chosen-title").replaceChildren(...broken(pattern));
    setText(byId("chosen-note"), "");
    byId("chosen-acts").hidden = false;
    byId("chosen-list").replaceChildren();
    this.#isReading = false;
    this.changed();
  }

  async changed() {
    if (this.#pattern === null || this.#isReading || document.hidden) return;
    const pattern = this.#pattern;
    this.#isReading = true;
    const told = await this.#read(pattern);
    // Another one was chosen meanwhile.
    if (pattern !== this.#pattern) return;
    this.#isReading = false;
    setText(byId("chosen-note"), told.note);
    if (told.listed) showInstances(byId("chosen-list"), told.listed);
  }

  async #read(pattern) {
    try {
      const { winner } = await ask("/api/v1/explain", { subject: pattern });
      if (winner?.pattern !== pattern) {
        return { note: "No service has registered exactly this pattern.", listed: [] };
      }
      const rest = winner.instances - winner.listed.length;
      const more = rest > 0 ? `, of which ${count(rest)} are not listed` : "";
      return { note: `${plural(winner.instances, "instance")}${more}`, listed: winner.listed };
    } catch (error) {
      return { note: inWords(error) };
    }
  }
}

/** Instances as a list: who, where, how. */
export function showInstances(list, standings) {
  reconcile(list, standings, ({ instance }) => instance, made, (node, standing) => {
    const { state, pick } = standing;
    const word = pick === "yes" ? state : pick.replace("_", " ");
    const [line, facts] = node.children;
    setPill(line.firstChild, word, pick === "yes" ? toneOf(state) : toneOf(pick));
    setText(line.lastChild, named(standing.identity));
    setText(facts, factsOf(standing));
  });
}

function made({ instance }) {
  return element(
    "li",
    { title: `instance ${instance}` },
    element("div", { class: "who" }, pill("", "idle"), element("span", { class: "name" })),
    element("div", { class: "faint" }),
  );
}

function factsOf(standing) {
  const facts = [brief(standing.instance), where(standing), `${count(standing.in_flight)} in flight`];
  if (standing.latency_us !== null) facts.push(`${latency(standing.latency_us / 1000)} on average`);
  if (standing.ejected_ms) facts.push(`left out for ${(standing.ejected_ms / 1000).toFixed(1)} s`);
  return facts.join(" · ");
}

export const where = ({ place, address }) =>
  ({ here: "at this node", nowhere: "connected nowhere" })[place] ?? `at ${address}`;
