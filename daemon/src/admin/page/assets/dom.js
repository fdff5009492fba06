// Elements are made here and nowhere else. What a node says is data of strangers: it becomes text
// nodes and attributes, never markup.

const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

function filled(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) {
      made.setAttribute(name, value === true ? "" : value);
    }
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

export const element = (name, attributes = {}, ...children) =>
  filled(document.createElement(name), attributes, children);

export const drawn = (name, attributes = {}, ...children) =>
  filled(document.createElementNS(SVG, name), attributes, children);

export const button = (label, act, attributes = {}) => {
  const made = element("button", { type: "button", ...attributes }, ...[label].flat());
  made.addEventListener("click", act);
  return made;
};

/** A pattern or subject as text that may be broken after each field. */
export const broken = (text) =>
  text.split(/(?<=,)/).flatMap((field, at) => (at === 0 ? [field] : [element("wbr"), field]));

/** Sets a text only if it is another one, so that nothing is laid out or announced anew. */
export function setText(node, text) {
  if (node.textContent !== text) {
    node.textContent = text;
  }
}

export function setAttribute(node, name, value) {
  if (value === null) {
    node.removeAttribute(name);
  } else if (node.getAttribute(name) !== String(value)) {
    node.setAttribute(name, value);
  }
}

/**
 * Makes the children of `parent` those of `items`, in their order. A child is kept as long as its
 * item's key is; who has the focus is not moved if it need not be.
 */
export function reconcile(parent, items, keyOf, make, update) {
  const known = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  const wanted = items.map((item) => {
    const key = keyOf(item);
    let child = known.get(key);
    if (child) {
      known.delete(key);
    } else {
      child = make(item);
      child.dataset.key = key;
    }
    update(child, item);
    return child;
  });
  for (const child of known.values()) {
    child.remove();
  }
  place(parent, wanted);
}

function place(parent, wanted) {
  if (wanted.every((child, at) => parent.children[at] === child)) return;
  const focused = wanted.find((child) => child.contains(document.activeElement));
  // A node that is moved loses the focus: the others go around it.
  const at = focused ? wanted.indexOf(focused) : wanted.length;
  for (const child of wanted.slice(0, at)) {
    parent.insertBefore(child, focused ?? null);
  }
  parent.append(...wanted.slice(at + 1));
}

/** Calls `act` once, a while after the last call. */
export function calmly(act, millis = 350) {
  let timer;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(act, millis);
  };
}

/** Has a form's text field say its content whenever it has come to rest, or at once by Enter. */
export function onFilter(form, input, act) {
  let last = input.value.trim();
  const say = () => {
    const text = input.value.trim();
    if (text !== last) {
      last = text;
      act(text);
    }
  };
  input.addEventListener("input", calmly(say));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    say();
  });
}
