// The busiest patterns: activity comes in, a table with a chart of each pattern goes out. The node
// sorts and filters; the order is kept while somebody is in the table, so that no row slips away from
// under a pointer.

import { Chart } from "./chart.js";
import { broken, byId, button, element, onFilter, reconcile, setAttribute, setText } from "./dom.js";
import { count, latency, rate } from "./format.js";
import { Lately } from "./lately.js";
import { SPAN, Series } from "./series.js";
import { showStates } from "./states.js";

const COLUMNS = [
  { name: "pattern", title: "Pattern", sort: "pattern" },
  { name: "calls", title: "Calls/s", sort: "rate" },
  { name: "failed", title: "Failures/s", sort: "failures" },
  { name: "p50", title: "p50" },
  { name: "p99", title: "p99", sort: "p99" },
  { name: "flight", title: "In flight", sort: "in_flight" },
  { name: "states", title: "Instances" },
];

/** What stands for calls of no pattern in particular. */
const SPECIAL = { other: "all other patterns", none: "no pattern found" };

const FEW = 10;
const MOST = 100;

/** Rows that are asked for beside those that are shown: charts of patterns that come and go have no gaps. */
const SPARE = 20;

/** Rows change places no more often. */
const CALM = 4_000;

export class Busiest {
  #body = byId("busiest");
  #heads = new Map();
  #history = new Map();
  #rows = new WeakMap();
  #order = [];
  #orderedAt = -Infinity;
  #asked = { sort: "rate", prefix: "" };
  #shown = FEW;
  #ask;
  #choose;

  /** `ask` has the node sort and filter, `choose` shows a pattern. */
  constructor(ask, choose) {
    this.#ask = ask;
    this.#choose = choose;
    byId("busiest-head").append(...COLUMNS.map((column) => this.#head(column)));
    onFilter(byId("busiest-form"), byId("busiest-prefix"), (prefix) => this.#change({ prefix }));
    byId("busiest-more").addEventListener("click", () => {
      this.#shown = Math.min(MOST, this.#shown * 3);
      this.#change({});
    });
    this.#showSort();
  }

  get asked() {
    return { ...this.#asked, limit: this.#shown + SPARE };
  }

  show({ at_ms, patterns, omitted }) {
    this.#remember(at_ms, patterns);
    const known = patterns.filter((row) => this.#isShown(row));
    const rows = this.#inOrder(known).slice(0, this.#shown);
    const rest = omitted + known.length - rows.length;
    const make = (row) => this.#make(row);
    reconcile(this.#body, rows, (row) => row.pattern, make, (node, row) => this.#update(node, row));
    const empty = this.#asked.prefix ? "No call of such a pattern yet." : "No call yet.";
    const note = rest > 0 ? `and ${count(rest)} more` : "";
    setText(byId("busiest-note"), rows.length === 0 ? empty : note);
    byId("busiest-more").hidden = !(rest > 0 && this.#shown < MOST);
  }

  refused(message) {
    setText(byId("busiest-note"), message);
    this.#body.replaceChildren();
  }

  #change(asked) {
    this.#asked = { ...this.#asked, ...asked };
    this.#orderedAt = -Infinity;
    this.#showSort();
    this.#ask(this.asked);
  }

  #head({ name, title, sort }) {
    const head = element("th", { role: "columnheader", scope: "col", class: `of-${name}` });
    if (sort) {
      head.append(button(title, () => this.#change({ sort }), { class: "sort" }));
      this.#heads.set(sort, head);
    } else {
      head.append(title);
    }
    return head;
  }

  #showSort() {
    for (const [sort, head] of this.#heads) {
      const way = sort === "pattern" ? "ascending" : "descending";
      setAttribute(head, "aria-sort", sort === this.#asked.sort ? way : null);
    }
  }

  /** What is no pattern is shown while there are such calls. */
  #isShown({ pattern }) {
    return !(pattern in SPECIAL) || this.#history.get(pattern).series.highest > 0;
  }

  #remember(at, patterns) {
    for (const row of patterns) {
      const known = this.#history.get(row.pattern) ?? { series: new Series(), lately: new Lately() };
      known.series.add(at, [row.calls_per_s, row.failures_per_s]);
      known.lately.add(at, row.failures);
      this.#history.set(row.pattern, known);
    }
    for (const [pattern, { series }] of this.#history) {
      if (Math.abs(at - series.last.at) > SPAN) this.#history.delete(pattern);
    }
  }

  #inOrder(patterns) {
    const now = performance.now();
    const isUsed = this.#body.matches(":hover") || this.#body.contains(document.activeElement);
    const isOld = this.#orderedAt === -Infinity || (!isUsed && now - this.#orderedAt >= CALM);
    if (isOld) {
      this.#order = patterns.map((row) => row.pattern);
      this.#orderedAt = now;
      return patterns;
    }
    const place = new Map(this.#order.map((pattern, at) => [pattern, at]));
    const placeOf = (row) => place.get(row.pattern) ?? Infinity;
    const places = patterns.map((row) => ({ row, at: placeOf(row) }));
    places.sort((a, b) => (a.at === b.at ? 0 : a.at - b.at));
    return places.map(({ row }) => row);
  }

  #make({ pattern }) {
    const cells = COLUMNS.map(({ name, title }, at) =>
      element(at === 0 ? "th" : "td", {
        role: at === 0 ? "rowheader" : "cell",
        ...(at === 0 ? { scope: "row" } : { "data-title": title }),
        class: `of-${name}`,
      }),
    );
    const [name, calls] = cells;
    const special = SPECIAL[pattern];
    name.append(
      special
        ? element("span", { class: "faint" }, special)
        : button(broken(pattern), () => this.#choose(pattern), { class: "pattern" }),
    );
    const chart = new Chart(["calls"], { height: 24 });
    const number = element("span");
    const why = element("span", { class: "why" });
    calls.append(chart.node, number);
    name.append(why);
    const node = element("tr", { role: "row" }, ...cells);
    this.#rows.set(node, { cells, chart, number, why });
    return node;
  }

  #update(node, row) {
    const { cells, chart, number, why } = this.#rows.get(node);
    const [, , failed, p50, p99, flight, states] = cells;
    const { series, lately } = this.#history.get(row.pattern);
    chart.draw(series);
    setText(number, rate(row.calls_per_s));
    setText(failed, rate(row.failures_per_s));
    const failure = lately.wordsAt(series.last.at);
    setText(why, failure && `lately ${failure}`);
    setAttribute(failed, "data-tone", row.failures_per_s > 0 ? "bad" : null);
    setText(p50, latency(row.p50_ms));
    setText(p99, latency(row.p99_ms));
    setText(flight, count(row.in_flight));
    showStates(states, row.instances);
  }
}
