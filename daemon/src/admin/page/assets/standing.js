// How the node stands: its status comes in, the words of the page's head go out.

import { byId, element, reconcile, setAttribute, setText } from "./dom.js";
import { count, duration, moment, named, plural } from "./format.js";
import { setPill } from "./states.js";

/** A certificate that ends sooner is told of in a warning tone. */
const SOON = 2 * 3_600_000;

export class Standing {
  #status = null;
  #heardAt = 0;

  show(status) {
    this.#status = status;
    this.#heardAt = performance.now();
    const name = named(status.identity);
    setText(byId("identity"), name);
    document.title = `${name} · nanod`;
    this.#showChecks(status.checks ?? []);
    this.tick();
  }

  /** Once a second: what the time alone changes. */
  tick() {
    if (!this.#status) return;
    const facts = this.#facts(this.#status, performance.now() - this.#heardAt);
    reconcile(
      byId("facts"),
      facts,
      ({ name }) => name,
      ({ name }) => element("div", {}, element("dt", {}, name), element("dd")),
      (node, { text, tone }) => {
        setText(node.lastChild, text);
        setAttribute(node, "data-tone", tone ?? null);
      },
    );
  }

  #facts(status, since) {
    const { instances, suspect_instances: suspect } = status;
    const facts = [
      { name: "Version", text: status.version.replace(/^nanod\//, "") },
      { name: "Up for", text: duration(status.uptime_ms + since) },
      { name: "Redis", ...redis(status.redis, since) },
      { name: "Other nodes", ...others(status) },
      { name: "Sessions", text: count(status.sessions) },
      { name: "Patterns", text: count(status.patterns) },
      {
        name: "Instances",
        text: suspect > 0 ? `${count(instances)}, ${count(suspect)} not reached` : count(instances),
        tone: suspect > 0 ? "warn" : null,
      },
    ];
    if (status.certificate_ends) facts.push({ name: "Certificate", ...until(status.certificate_ends) });
    if (status.withheld_routes > 0) {
      const text = `${plural(status.withheld_routes, "route")} against the rules`;
      facts.push({ name: "Withheld", text, tone: "warn" });
    }
    return facts;
  }

  #showChecks(checks) {
    const wrong = checks.filter((check) => !check.ok);
    setPill(byId("health"), wrong.length === 0 ? "Ready" : "Not ready", wrong.length === 0 ? "good" : "bad");
    byId("checks").hidden = wrong.length === 0;
    const make = () => element("li");
    const words = (check) => [check.name, check.detail].filter(Boolean).join(": ");
    reconcile(byId("checks"), wrong, (check) => check.name, make, (node, check) => {
      setText(node, words(check));
    });
  }
}

function redis(state, since) {
  if (!state) return { text: "alone" };
  if (state.of_another_authority) return { text: "of another authority", tone: "bad" };
  if (state.away_ms !== null) {
    const away = state.away_ms + since;
    const began = moment(new Date(Date.now() - away).toISOString());
    return { text: `away since ${began}, ${duration(away)}`, tone: "bad" };
  }
  if (state.in_step) return { text: "in step", tone: "good" };
  const parts = [];
  if (state.behind > 0) parts.push(`behind by ${plural(state.behind, "node")}`);
  if (state.not_yet_replicated > 0) parts.push(`${plural(state.not_yet_replicated, "change")} to send`);
  return { text: parts.join(", ") || "not in step yet", tone: "warn" };
}

function others({ nodes, suspect_nodes: suspect }) {
  if (nodes === 0) return { text: "none" };
  if (suspect > 0) return { text: `${count(nodes)}, ${count(suspect)} suspect`, tone: "warn" };
  return { text: count(nodes) };
}

function until(ends) {
  const left = new Date(ends) - Date.now();
  return { text: `until ${moment(ends)}`, tone: left < SOON ? "warn" : null };
}
