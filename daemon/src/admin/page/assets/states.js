// The states of instances, as small labels: each has its word, and a colour beside it.

import { element, setAttribute, setText } from "./dom.js";
import { count } from "./format.js";

const TONES = {
  ready: "good",
  trial: "warn",
  suspect: "warn",
  leaving: "warn",
  full: "warn",
  weightless: "idle",
};

export const toneOf = (state) => TONES[state] ?? "bad";

/** A label; give it its content by `setPill`. */
export const pill = (text, tone) => {
  const made = element("span", { class: "pill" });
  setPill(made, text, tone);
  return made;
};

export function setPill(node, text, tone) {
  setText(node, text);
  setAttribute(node, "data-tone", tone);
}

/** Counts by state as labels, first those that are ready. */
export function showStates(node, counts) {
  const known = Object.entries(counts ?? {}).filter(([, number]) => number > 0);
  known.sort(([a], [b]) => (b === "ready") - (a === "ready"));
  const words = known.map(([state, number]) => `${count(number)} ${state}`);
  const told = words.join(" ");
  if (node.dataset.told === told) return;
  node.dataset.told = told;
  node.replaceChildren(...known.map(([state], at) => pill(words[at], toneOf(state))));
  if (known.length === 0) {
    node.replaceChildren(element("span", { class: "faint" }, "–"));
  }
}
