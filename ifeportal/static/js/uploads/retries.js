/* Which failures are tried again, and when. Timers decide; `online` and a page that becomes visible only hurry them. */

const FIRST_DELAY = 500; // milliseconds, doubled with each attempt
const LONGEST_DELAY = 30000;
const LONGEST_ANNOUNCED = 600000; // of Retry-After
export const MOST_ATTEMPTS = 2880; // a day of attempts at the longest delay

/** A failure that a later attempt may not have. `after`: milliseconds that the server asked to wait. */
export class Trouble extends Error {
  constructor(message, { after = 0, most = MOST_ATTEMPTS, code = "", advice = "", signedOut = false } = {}) {
    super(message);
    Object.assign(this, { after, most, code, advice, signedOut });
  }
}

/** A failure that another attempt would have, too. `advice`: what the user can do. */
export class Failure extends Error {
  constructor(code, message, advice = "", details = {}) {
    super(message);
    Object.assign(this, { code, advice, details });
  }
}

/** Milliseconds before attempt `tries + 1`: exponential, random in its upper half, at least what the server asked for. */
export function delay(tries, after = 0, random = Math.random()) {
  const longest = Math.min(LONGEST_DELAY, FIRST_DELAY * 2 ** Math.min(tries, 10));
  return Math.max(Math.round((longest / 2) * (1 + random)), Math.min(after, LONGEST_ANNOUNCED));
}

/** Milliseconds of a Retry-After header: seconds, or a date. 0 without a usable one. */
export function retryAfter(header, now = Date.now()) {
  if (!header) return 0;
  const wait = /^\d+$/.test(header.trim()) ? Number(header) * 1000 : Date.parse(header) - now;
  return Number.isFinite(wait) && wait > 0 ? Math.min(wait, LONGEST_ANNOUNCED) : 0;
}

/** Pauses that `hurry` ends early, except those that a server asked for. */
export class Pauses {
  constructor() {
    this.waiting = new Set();
  }

  listen() {
    addEventListener("online", () => this.hurry());
    document.addEventListener("visibilitychange", () => document.hidden || this.hurry());
  }

  hurry() {
    for (const end of [...this.waiting]) end();
  }

  pause(milliseconds, signal, { fixed = false } = {}) {
    return new Promise((resolve, reject) => {
      const end = (stopped) => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", abort);
        this.waiting.delete(finish);
        if (stopped) reject(signal.reason);
        else resolve();
      };
      const finish = () => end(false);
      const abort = () => end(true);
      const timer = setTimeout(finish, milliseconds);
      if (!fixed) this.waiting.add(finish);
      signal?.addEventListener("abort", abort);
      if (signal?.aborted) abort();
    });
  }
}

/** Call `attempt` until it succeeds, fails for good, or `signal` aborts. `report(trouble, wait)` before each pause. */
export async function persist(attempt, { pauses, signal, report = () => {} }) {
  for (let tries = 0; ; tries += 1) {
    signal?.throwIfAborted();
    try {
      return await attempt();
    } catch (error) {
      signal?.throwIfAborted();
      if (!(error instanceof Trouble)) throw error;
      if (tries + 1 >= error.most) throw new Failure(error.code, error.message, error.advice);
      const wait = delay(tries, error.after);
      report(error, wait);
      await pauses.pause(wait, signal, { fixed: error.after > 0 });
    }
  }
}
