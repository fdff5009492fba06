// What has changed of the routes: events and pages of the history come in, a list with the latest first
// goes out. A bounded number is kept.

import { ask, inWords } from "./api.js";
import { broken, byId, button, element, onFilter, reconcile, setText } from "./dom.js";
import { brief, moment, named } from "./format.js";
import { pill } from "./states.js";

const PAGE = 12;
const MOST = 150;

const TONES = {
  registered: "good",
  returned: "good",
  started: "good",
  changed: "idle",
  moved: "idle",
  deregistered: "warn",
  left: "warn",
};

export class Changes {
  #list = byId("changes");
  #changes = [];
  #next = null;
  #prefix = "";
  #room = PAGE;
  #explain;

  /** `explain` asks who owned a pattern at a time. */
  constructor(explain) {
    this.#explain = explain;
    onFilter(byId("changes-form"), byId("changes-prefix"), (prefix) => this.#begin(prefix));
    byId("changes-older").addEventListener("click", () => this.#older());
  }

  /** Only those of patterns below a prefix. */
  of(prefix) {
    byId("changes-prefix").value = prefix;
    byId("changes-prefix").focus();
    this.#begin(prefix);
  }

  /** Those of an event, the latest last. `isFirst` if the stream has just begun. */
  show({ changes, omitted }, isFirst) {
    if (isFirst || omitted > 0) {
      // There may be some between these and the last ones.
      this.#begin(this.#prefix);
      return;
    }
    const fresh = changes.filter((change) => this.#isWanted(change)).reverse();
    this.#take([...fresh, ...this.#changes]);
  }

  #isWanted({ pattern }) {
    const prefix = this.#prefix;
    return !prefix || pattern === prefix || Boolean(pattern?.startsWith(`${prefix},`));
  }

  async #begin(prefix) {
    if (prefix !== this.#prefix) this.#room = PAGE;
    this.#prefix = prefix;
    const page = await this.#page(null);
    if (!page || prefix !== this.#prefix) return;
    this.#next = page.next;
    this.#take(page.changes);
  }

  async #older() {
    const prefix = this.#prefix;
    const page = await this.#page(this.#next);
    if (!page || prefix !== this.#prefix) return;
    this.#room = Math.min(MOST, this.#room + PAGE);
    this.#next = page.next;
    this.#take([...this.#changes, ...page.changes]);
  }

  async #page(before) {
    try {
      const limit = before === null ? this.#room : PAGE;
      return await ask("/api/v1/history", { prefix: this.#prefix, before, limit });
    } catch (error) {
      setText(byId("changes-note"), inWords(error));
      if (error.status === 400) this.#list.replaceChildren();
      return null;
    }
  }

  #take(changes) {
    const known = new Map(changes.map((change) => [change.number, change]));
    const all = [...known.values()].sort((a, b) => b.number - a.number);
    this.#changes = all.slice(0, this.#room);
    if (all.length > this.#room) this.#next = this.#changes.at(-1).number;
    const make = (change) => this.#make(change);
    reconcile(this.#list, this.#changes, ({ number }) => String(number), make, () => {});
    setText(byId("changes-note"), this.#changes.length === 0 ? "None is known." : "Times are in UTC.");
    byId("changes-older").hidden = this.#next === null || this.#room >= MOST;
  }

  #make({ at, what, pattern, instance, identity, node }) {
    const act = () => this.#explain(pattern, at);
    const name = pattern
      ? button(broken(pattern), act, { class: "pattern", "aria-label": `${pattern}: who owned it at ${moment(at)}` })
      : element("span", { class: "faint" }, "the node itself");
    const facts = [identity && named(identity), brief(instance), node?.address && `at ${node.address}`];
    const told = pattern ? facts.filter(Boolean).join(" · ") : "";
    return element(
      "li",
      {},
      element("time", { datetime: at }, moment(at)),
      pill(what, TONES[what] ?? "bad"),
      name,
      element("span", { class: "faint" }, told),
    );
  }
}
