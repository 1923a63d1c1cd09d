/* Calls of the uploads API. Each is retried with backoff; a few run at a time, because a user's requests share a limit. */

import { Failure, Trouble, persist, retryAfter } from "./retries.js";

const TIMEOUT = 30000; // milliseconds
const AT_ONCE = 3;
const PERMANENT = new Set([400, 403, 404, 405, 409, 410, 413, 415]);
const SIGNED_OUT = "You are signed out. Sign in again in another tab. The upload then continues.";

function csrfToken(fallback) {
  return document.cookie.match(/(?:^|; )csrftoken=([^;]+)/)?.[1] ?? fallback;
}

/** The first sentence of a problem document, of its fields if it has some. */
export function sentence(problem) {
  const fields = problem.errors ?? {};
  const first = Array.isArray(fields) ? fields[0]?.detail : Object.values(fields).flat()[0];
  return typeof first === "string" ? first : problem.detail || problem.title || "The portal refused the request.";
}

export class UploadsApi {
  constructor(address, token, pauses) {
    Object.assign(this, { address, token, pauses });
    this.running = 0;
    this.line = [];
    this.closedUntil = 0; // the portal asked all requests to wait until then
  }

  create(body, options) {
    return this.call("POST", "", body, options);
  }

  get(id, options) {
    return this.call("GET", `${id}/`, undefined, options);
  }

  parts(id, options) {
    return this.call("GET", `${id}/parts/`, undefined, options);
  }

  async sign(id, number, sum, options) {
    const part = sum ? { number, sha256: sum } : { number };
    return (await this.call("POST", `${id}/parts/`, { parts: [part] }, options)).parts[0];
  }

  complete(id, options) {
    return this.call("POST", `${id}/complete/`, undefined, options);
  }

  remove(id, options) {
    return this.call("DELETE", `${id}/`, undefined, options);
  }

  /** Have the portal repeat its own work on an upload that failed. */
  retry(id, options) {
    return this.call("POST", `../operations/${id}/retry/`, undefined, options);
  }

  /** The user's uploads that have not ended, at most 1,000. */
  async unfinished(options) {
    const rows = [];
    for (const status of ["loading", "pending"]) {
      const found = await this.call("GET", `?mine=true&status=${status}&page_size=500`, undefined, options);
      rows.push(...found.results);
    }
    return rows;
  }

  call(method, path, body, { signal, report } = {}) {
    return persist(() => this.once(method, path, body, signal), { pauses: this.pauses, signal, report });
  }

  async once(method, path, body, signal) {
    await this.turn();
    try {
      const wait = this.closedUntil - Date.now();
      if (wait > 0) await this.pauses.pause(wait, signal, { fixed: true });
      return await this.answer(await this.send(method, path, body, signal));
    } finally {
      this.running -= 1;
      this.line.shift()?.();
    }
  }

  async turn() {
    if (this.running >= AT_ONCE) await new Promise((resolve) => this.line.push(resolve));
    this.running += 1;
  }

  async send(method, path, body, signal) {
    const headers = { Accept: "application/json", "X-CSRFToken": csrfToken(this.token) };
    if (body !== undefined) headers["Content-Type"] = "application/json";
    const limit = AbortSignal.timeout(TIMEOUT);
    try {
      return await fetch(this.address + path, {
        method, headers, body: body && JSON.stringify(body), credentials: "same-origin", redirect: "error", cache: "no-store",
        signal: signal ? AbortSignal.any([signal, limit]) : limit,
      });
    } catch (error) {
      signal?.throwIfAborted();
      throw new Trouble("The portal cannot be reached.", { code: "NETWORK", advice: "Check the network, then retry." });
    }
  }

  async answer(response) {
    let content = {};
    try {
      content = await response.json();
    } catch {
      if (response.ok) throw new Trouble("The response of the portal is incomplete.", { code: "NETWORK" });
    }
    if (response.ok) return content;
    if (response.status === 401) throw new Trouble(SIGNED_OUT, { after: 10000, signedOut: true });
    if (PERMANENT.has(response.status)) throw new Failure(content.code ?? `HTTP_${response.status}`, sentence(content), "", content);
    const after = retryAfter(response.headers.get("Retry-After"));
    if (response.status === 429 && after) this.closedUntil = Math.max(this.closedUntil, Date.now() + after);
    throw new Trouble(sentence(content), { after, code: `HTTP_${response.status}`, advice: "Retry in a few minutes." });
  }
}
