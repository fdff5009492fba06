// Figures of the last two minutes, one or more values each second: what comes in last goes out as the
// points of a chart. What is older is forgotten.

export const SPAN = 120_000;

/** A chart breaks where nothing was heard for longer. */
const GAP = 3_500;

export class Series {
  #points = [];

  /** Values at a time in milliseconds; `null` for one that there is not. */
  add(at, values) {
    const last = this.#points.at(-1);
    if (last && at <= last.at) {
      // The node's clock was set back, or it is another node's.
      if (last.at - at > GAP) this.#points.length = 0;
      else return;
    }
    this.#points.push({ at, values });
    const first = this.#points.findIndex((point) => point.at >= at - SPAN);
    this.#points.splice(0, Math.max(0, first));
  }

  get last() {
    return this.#points.at(-1) ?? null;
  }

  /** The highest of all values, or 0. */
  get highest() {
    let highest = 0;
    for (const { values } of this.#points) {
      for (const value of values) highest = Math.max(highest, value ?? 0);
    }
    return highest;
  }

  /** The point that is nearest to a time. */
  near(at) {
    const away = (point) => Math.abs(point.at - at);
    return this.#points.reduce(
      (best, point) => (best && away(best) <= away(point) ? best : point),
      null,
    );
  }

  /** Runs of points without a gap, of one of the values. */
  runs(which) {
    const runs = [];
    let before = -Infinity;
    for (const { at, values } of this.#points) {
      const value = values[which] ?? null;
      if (value === null) continue;
      if (at - before > GAP) runs.push([]);
      runs.at(-1).push({ at, value });
      before = at;
    }
    return runs;
  }
}
