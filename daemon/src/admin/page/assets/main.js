// The page: the node's events come in and go to those who show them.

import { Busiest } from "./busiest.js";
import { Call } from "./call.js";
import { Changes } from "./changes.js";
import { Chosen } from "./chosen.js";
import { byId, setText } from "./dom.js";
import { Explain } from "./explain.js";
import { count, duration } from "./format.js";
import { Standing } from "./standing.js";
import { setPill } from "./states.js";
import { Stream } from "./stream.js";
import { Tiles } from "./tiles.js";
import { Tree } from "./tree.js";

const standing = new Standing();
const tiles = new Tiles();
const explain = new Explain();
const call = new Call();
const changes = new Changes((pattern, at) => explain.of(pattern, at));
const chosen = new Chosen({
  explain: (pattern) => explain.of(pattern),
  call: (pattern) => call.of(pattern),
  changes: (pattern) => changes.of(pattern),
});
const tree = new Tree((pattern) => chosen.show(pattern));
const busiest = new Busiest(
  (asked) => stream.change(asked),
  (pattern) => {
    chosen.show(pattern);
    byId("chosen-title").focus();
  },
);

let heardAt = null;
let isLive = false;
let isFirst = true;

const events = {
  status: (status) => standing.show(status),
  activity: (activity) => {
    tiles.show(activity);
    busiest.show(activity);
  },
  routes: ({ patterns }) => {
    setText(byId("tree-count"), count(patterns));
    tree.changed();
    chosen.changed();
  },
  changes: (said) => {
    changes.show(said, isFirst);
    isFirst = false;
  },
};

const stream = new Stream("/api/v1/events", busiest.asked, {
  event(name, data) {
    heardAt = performance.now();
    events[name]?.(data);
  },
  opened() {
    isFirst = true;
  },
  live() {
    isLive = true;
    setPill(byId("link"), "Live", "good");
    showAge();
  },
  lost(message) {
    isLive = false;
    setPill(byId("link"), "Reconnecting", "warn");
    byId("link").title = message ?? "";
    showAge();
  },
  refused: (message) => busiest.refused(message),
});

/** Beside the words that are announced, since it changes each second. */
function showAge() {
  const isOld = !isLive && heardAt !== null;
  setText(byId("age"), isOld ? `data ${duration(performance.now() - heardAt)} old` : "");
}

setInterval(() => {
  if (document.hidden) return;
  showAge();
  if (isLive) standing.tick();
}, 1000);
