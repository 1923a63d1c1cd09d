/* Formats of figures: the same rules as ifeportal/formatting.py, tested with the same table of cases. */

const UNITS = ["kB", "MB", "GB", "TB", "PB"];
const UNKNOWN = "unknown";
const NONE = "—";
const grouped = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 0 });
const missing = (value) => value === null || value === undefined;

export function size(value) {
  if (missing(value)) return UNKNOWN;
  if (value < 1000) return `${value} B`;
  let unit = "";
  let factor = 1;
  for (unit of UNITS) {
    factor *= 1000;
    if (value < factor * 1000) break;
  }
  const whole = Math.floor(value / factor);
  const digits = whole < 10 ? 2 : whole < 100 ? 1 : 0;
  const scale = 10 ** digits;
  const scaled = Math.floor(value / (factor / scale));
  if (!digits) return `${grouped.format(scaled)} ${unit}`;
  return `${Math.floor(scaled / scale)}.${String(scaled % scale).padStart(digits, "0")} ${unit}`;
}

export const rate = (value) => (missing(value) ? NONE : `${size(value)}/s`);
export const percent = (value) => (missing(value) ? UNKNOWN : `${value}%`);
export const count = (value) => (missing(value) ? UNKNOWN : grouped.format(value));

export function duration(seconds) {
  if (missing(seconds)) return NONE;
  if (seconds < 60) return `${Math.max(seconds, 0)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86400) {
    const minutes = String(Math.floor((seconds % 3600) / 60)).padStart(2, "0");
    return `${Math.floor(seconds / 3600)} h ${minutes} min`;
  }
  return `${Math.floor(seconds / 86400)} d ${Math.floor((seconds % 86400) / 3600)} h`;
}

/** `then` and `now` in milliseconds since 1970; NaN or null: never. */
export function age(then, now) {
  if (missing(then) || Number.isNaN(then)) return "never";
  const seconds = Math.floor((now - then) / 1000);
  if (seconds < 1) return "now";
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86400)} d ago`;
}

export function until(then, now) {
  const seconds = missing(then) || Number.isNaN(then) ? 0 : Math.ceil((then - now) / 1000);
  if (seconds < 1) return "now";
  return seconds < 60 ? `in ${seconds} s` : `in ${Math.floor(seconds / 60)} min`;
}

export function instant(then) {
  const text = new Date(then).toISOString();
  return `${text.slice(0, 10)} ${text.slice(11, 19)} UTC`;
}

export const FORMATS = { size, rate, percent, count, duration };

/** A range of remaining seconds. */
export function band(earliest, latest) {
  const early = duration(earliest);
  const late = duration(latest);
  if (missing(latest) || early === late) return early;
  return missing(earliest) ? `at most ${late}` : `${early} to ${late}`;
}

/** Free space on the first disk of a heartbeat, and the number of further disks. */
export function free(stores) {
  const disks = Array.isArray(stores) ? stores.filter((store) => store && typeof store === "object") : [];
  const bytes = disks[0]?.free;
  if (!Number.isInteger(bytes) || bytes < 0) return UNKNOWN;
  return size(bytes) + (disks.length > 1 ? ` +${disks.length - 1}` : "");
}

/** Percent of a load's bar: complete items, bytes of items that are loading, failed items. See fleet/pages/bars.py. */
export function parts({ percent: loaded, items_done: done, items_failed: failed, items_total: total }) {
  if (missing(loaded) || !total) return [0, loaded ?? 0, 0];
  const complete = Math.min(loaded, Math.floor((100 * done) / total));
  return [complete, loaded - complete, Math.min(100 - loaded, Math.ceil((100 * failed) / total))];
}

const ORDER = ["complete", "loading", "restarted", "waiting", "contradiction", "stalled", "silent", "failed", "pending"];

/** The start and width of each state in a bar, in percent. */
export function segments(counts) {
  const total = ORDER.reduce((sum, word) => sum + (counts[word] ?? 0), 0);
  const share = (number) => (total ? Math.round((10000 * number) / total) / 100 : 0);
  let before = 0;
  return ORDER.map((word) => {
    const start = share(before);
    before += counts[word] ?? 0;
    return [word, start, Math.round((share(before) - start) * 100) / 100];
  });
}
