// What has failed lately: failures of each second come in, the words for the commonest of the last of
// them go out, for as long as a chart shows it.

import { SPAN } from "./series.js";

export class Lately {
  #words = "";
  #at = -Infinity;

  add(at, failures) {
    const [first] = [...failures].sort((a, b) => b.per_s - a.per_s);
    if (first) {
      this.#words = `${first.code}, ${first.certainty}`;
      this.#at = at;
    }
  }

  /** Code and certainty; empty if there was no failure. */
  wordsAt(at) {
    return Math.abs(at - this.#at) <= SPAN ? this.#words : "";
  }
}
