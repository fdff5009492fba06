// The four figures of the whole node: activity comes in, numbers and charts of the last two minutes go
// out. Where the pointer rests on a chart, the figures of that moment are shown.

import { Chart } from "./chart.js";
import { byId, element, setText } from "./dom.js";
import { count, latency, rate } from "./format.js";
import { Lately } from "./lately.js";
import { SPAN, Series } from "./series.js";

const TILES = [
  {
    title: "Calls",
    unit: "per second",
    lines: ["calls"],
    values: (total) => [total.calls_per_s],
    words: ([calls]) => rate(calls),
    note: (series) => `at most ${rate(series.highest)} in 2 min`,
  },
  {
    title: "Failures",
    unit: "per second",
    lines: ["failures"],
    values: (total) => [total.failures_per_s],
    words: ([failures]) => rate(failures),
    note: (_, lately) => (lately ? `lately ${lately}` : "none in 2 min"),
  },
  {
    title: "Latency",
    unit: "p50 / p99",
    lines: ["p99", "p50"],
    values: (total) => [total.p99_ms, total.p50_ms],
    words: ([p99, p50]) => both(latency(p50), latency(p99)),
    note: (series) =>
      series.highest > 0 ? `at most ${latency(series.highest)} in 2 min` : "no call in 2 min",
  },
  {
    title: "In flight",
    unit: "calls",
    lines: ["flight"],
    values: (total) => [total.in_flight],
    words: ([calls]) => count(calls),
    note: (series) => `at most ${count(series.highest)} in 2 min`,
  },
];

/** Two latencies, of which the first has no unit if it is that of the second. */
function both(first, second) {
  const unit = second.slice(second.lastIndexOf(" "));
  return `${first.endsWith(unit) ? first.slice(0, -unit.length) : first} / ${second}`;
}

export class Tiles {
  #tiles = TILES.map((kind) => new Tile(kind));

  constructor() {
    byId("tiles").append(...this.#tiles.map((tile) => tile.node));
  }

  show({ at_ms, total }) {
    for (const tile of this.#tiles) tile.add(at_ms, total);
  }
}

class Tile {
  #kind;
  #series = new Series();
  #chart;
  #value = element("p", { class: "value" }, "–");
  #unit;
  #note = element("p", { class: "note" });
  #lately = new Lately();
  #place = null;

  constructor(kind) {
    this.#kind = kind;
    this.#chart = new Chart(kind.lines);
    this.#unit = element("span", { class: "unit" }, kind.unit);
    const plot = element("div", { class: "plot" }, this.#chart.node);
    this.node = element(
      "article",
      { class: "card tile", "data-tile": kind.lines[0] },
      element("h2", {}, kind.title, this.#unit),
      this.#value,
      plot,
      this.#note,
    );
    plot.addEventListener("pointermove", (event) => {
      const { left, width } = plot.getBoundingClientRect();
      this.#point(Math.min(1, Math.max(0, (event.clientX - left) / width)));
    });
    plot.addEventListener("pointerleave", () => this.#point(null));
  }

  add(at, total) {
    this.#lately.add(at, total.failures);
    this.#series.add(at, this.#kind.values(total));
    this.#chart.draw(this.#series);
    this.#say();
  }

  #point(place) {
    this.#place = place;
    this.#chart.mark(place);
    this.#say();
  }

  #say() {
    const last = this.#series.last;
    if (!last) return;
    const wanted = this.#place === null ? last.at : last.at - (1 - this.#place) * SPAN;
    const point = this.#series.near(wanted);
    const ago = Math.round((last.at - point.at) / 1000);
    setText(this.#value, this.#kind.words(point.values));
    setText(this.#unit, this.#place === null ? this.#kind.unit : `${ago} s ago`);
    setText(this.#note, this.#kind.note(this.#series, this.#lately.wordsAt(last.at)));
  }
}
