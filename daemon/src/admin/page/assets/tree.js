// All patterns as a tree: pages of the node's come in, a bounded number of rows goes out. Only what is
// open is asked for, and asked for again when the table has changed. By keyboard it is what the ARIA
// authoring practices call a tree view: arrows, Home, End, Enter.

import { inWords } from "./api.js";
import { Branch } from "./branch.js";
import { byId, element, onFilter, reconcile, setAttribute, setText } from "./dom.js";
import { plural } from "./format.js";
import { showStates } from "./states.js";

/** Branches that are open at a time; the one that was opened first is closed for another one. */
const OPEN = 4;

/** States change without a change of the table, such as those of an instance whose calls fail. */
const AGAIN = 5_000;

export class Tree {
  #node = byId("tree");
  #rows = [];
  #branches = new Map();
  #root = null;
  #current = null;
  #chosen = null;
  #choose;
  #isStale = true;
  #isReading = false;
  #isSeen = true;

  /** `choose` is told which pattern was chosen. */
  constructor(choose) {
    this.#choose = choose;
    this.#node.addEventListener("click", (event) => this.#onClick(event));
    this.#node.addEventListener("keydown", (event) => this.#onKey(event));
    onFilter(byId("tree-form"), byId("tree-prefix"), (prefix) => this.#start(prefix));
    new IntersectionObserver((entries) => {
      this.#isSeen = entries.at(-1).isIntersecting;
      this.#refresh();
    }).observe(this.#node);
    setInterval(() => this.changed(), AGAIN);
    this.#start("");
  }

  /** What is open may have changed. */
  changed() {
    this.#isStale = true;
    this.#refresh();
  }

  #start(prefix) {
    this.#root = new Branch(prefix || null);
    this.#branches.clear();
    this.changed();
  }

  /** One reading at a time; what has changed meanwhile is read after it. */
  async #refresh() {
    if (this.#isReading || !this.#isStale || !this.#isSeen || document.hidden) return;
    this.#isReading = true;
    this.#isStale = false;
    const root = this.#root;
    try {
      for (const branch of [root, ...this.#branches.values()]) await branch.load();
      setText(byId("tree-note"), root.children.length === 0 ? "There is no such pattern." : "");
    } catch (error) {
      root.children = error.status === 400 ? [] : root.children;
      setText(byId("tree-note"), inWords(error));
    }
    this.#isReading = false;
    this.#show();
    // It was begun anew meanwhile.
    if (root !== this.#root) this.#refresh();
  }

  #show() {
    this.#rows = this.#listed(this.#root, 1, "");
    const isThere = this.#rows.some((row) => row.key === this.#current);
    if (!isThere) this.#current = this.#rows[0]?.key ?? null;
    reconcile(this.#node, this.#rows, (row) => row.key, made, (node, row) => this.#update(node, row));
    setAttribute(this.#node, "role", this.#rows.length > 0 ? "tree" : "presentation");
  }

  /** The rows of a branch and of those that are open beneath it. */
  #listed(branch, level, parent) {
    const rows = [];
    const turn = (kind, words) => rows.push({ key: `${kind} ${parent}`, kind, words, branch, level, parent });
    if (branch.hasEarlier) turn("earlier", "Earlier ones");
    for (const child of branch.children) {
      const open = this.#branches.get(child.pattern);
      const isBranch = child.patterns > (child.is_pattern ? 1 : 0);
      rows.push({ key: child.pattern, kind: "child", child, level, parent, isBranch, isOpen: Boolean(open) });
      if (open && isBranch) rows.push(...this.#listed(open, level + 1, child.pattern));
    }
    if (branch.next !== null) turn("later", "More");
    return rows;
  }

  #update(node, row) {
    setAttribute(node, "aria-level", row.level);
    setAttribute(node, "data-level", Math.min(row.level, 8));
    setAttribute(node, "tabindex", row.key === this.#current ? 0 : -1);
    if (row.kind !== "child") {
      setText(node.lastChild, row.words);
      return;
    }
    const { child } = row;
    const [, name, count, states] = node.children;
    setAttribute(node, "aria-expanded", row.isBranch ? row.isOpen : null);
    setAttribute(node, "aria-selected", child.pattern === this.#chosen);
    setText(name, child.field);
    setAttribute(name, "data-serves", child.is_pattern ? "" : null);
    setText(count, row.isBranch ? plural(child.patterns, "pattern") : "");
    showStates(states, child.instances);
  }

  #rowOf(target) {
    const node = target.closest("[role=treeitem]");
    return node && this.#rows.find((row) => row.key === node.dataset.key);
  }

  #onClick(event) {
    const row = this.#rowOf(event.target);
    if (!row) return;
    this.#focus(row.key);
    if (row.kind === "child" && event.target.closest(".twist") && row.isBranch) this.#turn(row);
    else this.#act(row);
  }

  #onKey(event) {
    const row = this.#rowOf(event.target);
    if (!row || event.ctrlKey || event.altKey || event.metaKey) return;
    const at = this.#rows.indexOf(row);
    const acts = {
      ArrowDown: () => this.#focus(this.#rows[at + 1]?.key),
      ArrowUp: () => this.#focus(this.#rows[at - 1]?.key),
      Home: () => this.#focus(this.#rows[0].key),
      End: () => this.#focus(this.#rows.at(-1).key),
      ArrowRight: () => this.#inwards(row, at),
      ArrowLeft: () => (row.isOpen ? this.#turn(row) : this.#focus(row.parent)),
      Enter: () => this.#act(row),
      " ": () => this.#act(row),
    };
    const act = acts[event.key];
    if (act) {
      event.preventDefault();
      act();
    }
  }

  #inwards(row, at) {
    if (!row.isBranch) return;
    if (row.isOpen) this.#focus(this.#rows[at + 1]?.key);
    else this.#turn(row);
  }

  /** A pattern is chosen, and a branch opened; more of a branch is read. */
  #act(row) {
    if (row.kind !== "child") {
      this.#read(row);
      return;
    }
    this.#chosen = row.key;
    this.#choose(row.key);
    if (row.isBranch && !row.child.is_pattern) this.#turn(row);
    else this.#show();
  }

  #focus(key) {
    if (!this.#rows.some((row) => row.key === key)) return;
    this.#current = key;
    this.#show();
    const node = [...this.#node.children].find((node) => node.dataset.key === key);
    node.focus({ preventScroll: true });
    node.scrollIntoView({ block: "nearest" });
  }

  async #turn({ key, isOpen }) {
    if (isOpen) {
      const inside = (pattern) => pattern === key || pattern.startsWith(`${key},`);
      for (const pattern of [...this.#branches.keys()].filter(inside)) this.#branches.delete(pattern);
      this.#show();
      return;
    }
    const branch = new Branch(key);
    await this.#tell(() => branch.load());
    const holds = (pattern) => key.startsWith(`${pattern},`);
    const others = [...this.#branches.keys()].filter((pattern) => !holds(pattern));
    if (this.#branches.size >= OPEN && others.length > 0) this.#branches.delete(others[0]);
    this.#branches.set(key, branch);
    this.#show();
  }

  async #read({ kind, branch, key }) {
    const before = new Set(branch.children.map((child) => child.pattern));
    await this.#tell(() => (kind === "later" ? branch.later() : branch.earlier()));
    this.#show();
    const fresh = branch.children.filter((child) => !before.has(child.pattern));
    const next = kind === "later" ? fresh[0] : fresh.at(-1);
    this.#focus(next?.pattern ?? key);
  }

  async #tell(read) {
    try {
      await read();
      setText(byId("tree-note"), "");
    } catch (error) {
      setText(byId("tree-note"), inWords(error));
    }
  }
}

function made({ kind }) {
  const node = element("div", { role: "treeitem", class: `row ${kind}` });
  if (kind === "child") {
    node.append(
      element("span", { class: "twist", "aria-hidden": "true" }),
      element("span", { class: "field-name" }),
      element("span", { class: "below" }),
      element("span", { class: "states" }),
    );
  } else {
    node.append(element("span", { class: "twist" }), element("span"));
  }
  return node;
}
