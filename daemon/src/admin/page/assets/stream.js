// The node's events, as they come: read by fetch, since EventSource sends no token. The stream ends by
// itself every so often and is opened again; when the node is away, after pauses that grow. While the
// page is hidden there is none.

import { Problem, request } from "./api.js";

const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 8_000;

/** There is an event each second: after so many milliseconds without one the connection is dead. */
const SILENCE = 6_000;

/** Largest event in characters; what is longer is no event of a node. */
const LONGEST_EVENT = 8 * 1024 * 1024;

export class Stream {
  #path;
  #parameters;
  #listener;
  #opened = null;
  #pause = FIRST_PAUSE;
  #timer = null;
  #isLive = false;

  /** `listener` has `opened()`, `event(name, data)`, `live()`, `lost(message)`, `refused(message)`. */
  constructor(path, parameters, listener) {
    this.#path = path;
    this.#parameters = parameters;
    this.#listener = listener;
    document.addEventListener("visibilitychange", () => this.#look());
    this.#look();
  }

  /** Asks for something else from now on. */
  change(parameters) {
    this.#parameters = { ...this.#parameters, ...parameters };
    this.#close();
    this.#look();
  }

  #look() {
    if (document.hidden) {
      this.#close();
    } else if (!this.#opened && this.#timer === null) {
      this.#open();
    }
  }

  #close() {
    clearTimeout(this.#timer);
    this.#timer = null;
    this.#opened?.abort();
    this.#opened = null;
    this.#pause = FIRST_PAUSE;
  }

  async #open() {
    const opened = new AbortController();
    this.#opened = opened;
    this.#timer = null;
    try {
      await this.#read(opened);
      this.#again(opened, null);
    } catch (error) {
      this.#again(opened, error);
    }
  }

  async #read(opened) {
    const signal = opened.signal;
    const unanswered = setTimeout(() => opened.abort(), SILENCE);
    const response = await request(this.#path, this.#parameters, { signal });
    clearTimeout(unanswered);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    this.#listener.opened();
    const events = new Events();
    for (;;) {
      const silence = setTimeout(() => opened.abort(), SILENCE);
      const { value, done } = await reader.read().finally(() => clearTimeout(silence));
      if (done || this.#opened !== opened) return;
      for (const { name, data } of events.take(value)) {
        this.#pause = FIRST_PAUSE;
        if (!this.#isLive) {
          this.#isLive = true;
          this.#listener.live();
        }
        this.#listener.event(name, data);
      }
    }
  }

  /** After a stream's end, or what came in place of one. */
  #again(opened, error) {
    // It was closed for another one, or for none.
    if (this.#opened !== opened) return;
    this.#opened = null;
    if (error instanceof Problem && error.status === 400) {
      this.#listener.refused(error.message);
      return;
    }
    if (error) {
      this.#isLive = false;
      this.#listener.lost(error instanceof Problem ? error.message : null);
    }
    const pause = error ? this.#pause * (0.75 + Math.random() / 2) : 0;
    this.#pause = Math.min(this.#pause * 2, LONGEST_PAUSE);
    this.#timer = setTimeout(() => this.#open(), pause);
  }
}

/** Events out of the pieces of a text/event-stream, as the HTML standard has them. */
export class Events {
  #rest = "";
  #name = "";
  #data = [];

  *take(piece) {
    this.#rest += piece;
    if (this.#rest.length > LONGEST_EVENT) throw new Error("the event is too long");
    // The last one may go on with the next piece; a CR may have its LF there.
    const lines = this.#rest.split(/\r\n|\n|\r(?!$)/);
    this.#rest = lines.pop();
    for (const line of lines) {
      const event = this.#line(line);
      if (event) yield event;
    }
  }

  #line(line) {
    if (line === "") {
      const [name, data] = [this.#name || "message", this.#data.join("\n")];
      const isEvent = this.#data.length > 0;
      this.#name = "";
      this.#data = [];
      return isEvent ? { name, data: JSON.parse(data) } : null;
    }
    const [, field, value] = /^([^:]*):? ?(.*)$/s.exec(line);
    if (field === "event") this.#name = value;
    if (field === "data") this.#data.push(value);
    return null;
  }
}
