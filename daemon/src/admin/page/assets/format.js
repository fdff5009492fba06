// Numbers, durations and times as people read them.

const WHOLE = new Intl.NumberFormat("en");

export const count = (number) => WHOLE.format(Math.round(number));

export const plural = (number, one, many = `${one}s`) =>
  `${count(number)} ${number === 1 ? one : many}`;

/** Something per second, with about three digits. */
export function rate(number) {
  if (number === 0) return "0";
  if (number < 0.095) return "<0.1";
  if (number < 99.95) return number.toFixed(1);
  if (number < 9999.5) return count(number);
  if (number < 999_500) return `${short(number / 1e3)} k`;
  return `${short(number / 1e6)} M`;
}

const short = (number) => number.toFixed(number < 99.95 ? 1 : 0);

/** A latency in milliseconds, in the unit that suits it. */
export function latency(millis) {
  if (millis === null || millis === undefined) return "–";
  if (millis < 0.0995) return `${Math.max(1, Math.round(millis * 1000))} µs`;
  if (millis < 9.995) return `${millis.toFixed(2)} ms`;
  if (millis < 99.95) return `${millis.toFixed(1)} ms`;
  if (millis < 999.5) return `${Math.round(millis)} ms`;
  return `${(millis / 1000).toFixed(2)} s`;
}

const UNITS = [
  ["d", 86_400],
  ["h", 3_600],
  ["min", 60],
  ["s", 1],
];

/** A duration with its two largest units: `2 h 5 min`. */
export function duration(millis) {
  const seconds = Math.max(0, Math.floor(millis / 1000));
  const at = UNITS.findIndex(([, size]) => seconds >= size);
  if (at < 0) return "0 s";
  const [unit, size] = UNITS[at];
  const text = `${Math.floor(seconds / size)} ${unit}`;
  const [below, smaller] = UNITS[at + 1] ?? [];
  const rest = below ? Math.floor((seconds % size) / smaller) : 0;
  return rest > 0 ? `${text} ${rest} ${below}` : text;
}

/** An RFC 3339 time in UTC: the time of a day, and the day if it is not today. */
export function moment(text) {
  const time = new Date(text);
  if (Number.isNaN(time.getTime())) return text;
  const [day, clock] = time.toISOString().split("T");
  const today = new Date().toISOString().split("T")[0];
  return day === today ? clock.slice(0, 8) : `${day} ${clock.slice(0, 5)}`;
}

/** An identity without what all of them begin with. */
export const named = (identity) => identity.replace(/^spiffe:\/\//, "");

/** Enough of an id to tell it from others at a glance. */
export const brief = (id) => id.slice(0, 8);
