// One open branch of the tree: a window on the children of a prefix, page by page. However many there
// are, a bounded number is kept.

import { ask } from "./api.js";

const PAGE = 50;

/** Children that are kept of one branch. */
export const WINDOW = 150;

export class Branch {
  #prefix;
  #after = null;
  #before = [];
  children = [];
  next = null;

  constructor(prefix) {
    this.#prefix = prefix;
  }

  get hasEarlier() {
    return this.#before.length > 0;
  }

  /** Reads what is shown anew, or the first page. */
  async load() {
    const page = await this.#page(this.#after, Math.max(PAGE, this.children.length));
    if (page.children.length === 0 && this.hasEarlier) {
      // What it showed is gone.
      [this.#after, this.#before] = [null, []];
      return this.load();
    }
    [this.children, this.next] = [page.children, page.next];
  }

  async later() {
    const page = await this.#page(this.next, PAGE);
    this.children = [...this.children, ...page.children];
    this.next = page.next;
    while (this.children.length > WINDOW) {
      this.#before.push(this.#after);
      this.#after = this.children[PAGE - 1].field;
      this.children = this.children.slice(PAGE);
    }
  }

  async earlier() {
    const after = this.#before.pop();
    const page = await this.#page(after, PAGE);
    this.#after = after;
    this.children = [...page.children, ...this.children];
    if (this.children.length > WINDOW) {
      this.children = this.children.slice(0, WINDOW);
      this.next = this.children.at(-1).field;
    }
  }

  #page(after, limit) {
    return ask("/api/v1/tree", { prefix: this.#prefix, after, limit });
  }
}
