// Charts as SVG: a series comes in, paths go out. They are drawn in units of their own and stretched
// to their box; what they show is said in text beside them.

import { drawn, setAttribute } from "./dom.js";
import { SPAN } from "./series.js";

const WIDTH = 240;

/** A chart of the last two minutes, with one line for each of `names`. */
export class Chart {
  #height;
  #lines;
  #cursor;

  constructor(names, { height = 64, isFilled = true } = {}) {
    this.#height = height;
    const path = (name) => drawn("path", { class: name });
    this.#lines = names.map((name) => ({
      area: isFilled ? path(`area ${name}`) : null,
      line: path(`line ${name}`),
    }));
    this.#cursor = drawn("path", { class: "cursor" });
    const grid = drawn("path", { class: "grid", d: `M0 ${height - 0.5}H${WIDTH}` });
    this.node = drawn(
      "svg",
      {
        class: "chart",
        viewBox: `0 0 ${WIDTH} ${height}`,
        preserveAspectRatio: "none",
        "aria-hidden": "true",
      },
      grid,
      ...this.#lines.flatMap(({ area, line }) => [area, line]).filter(Boolean),
      this.#cursor,
    );
  }

  /** Draws a series whose highest value reaches the top, or `top` if that is more. */
  draw(series, top = 0) {
    const end = series.last?.at ?? 0;
    const highest = Math.max(series.highest, top) || 1;
    const [room, base] = [this.#height - 3, this.#height - 1];
    const x = (at) => (WIDTH - ((end - at) / SPAN) * WIDTH).toFixed(1);
    const y = (value) => (base - (value / highest) * (room - 1)).toFixed(1);
    this.#lines.forEach(({ area, line }, which) => {
      const runs = series.runs(which);
      const lines = runs.map((run) => run.map(({ at, value }) => `${x(at)} ${y(value)}`));
      setAttribute(line, "d", lines.map(path).join(""));
      if (area) {
        const close = (run) => `V${base}H${x(run[0].at)}Z`;
        setAttribute(area, "d", runs.map((run, at) => path(lines[at]) + close(run)).join(""));
      }
    });
  }

  /** Marks a place between 0, two minutes ago, and 1, now. */
  mark(place) {
    const at = place === null ? "" : `M${(place * WIDTH).toFixed(1)} 0V${this.#height}`;
    setAttribute(this.#cursor, "d", at);
  }
}

/** One point alone is drawn as a dot, which a line of no length is with round ends. */
const path = (points) => (points.length === 1 ? `M${points[0]}h0` : `M${points.join("L")}`);
