/* Sends one part to the store by XMLHttpRequest, because fetch reports no progress of what it sends. */

import { Trouble } from "./retries.js";

const SILENCE = 120000; // milliseconds without any progress, after which the connection counts as broken
const REFUSALS = 5; // attempts after a refusal of the store
const FORBIDDEN = new Set(["content-length", "host"]); // the browser sets them

/** Send the File slice: a buffer would be copied, which is 9 times slower. Raises Trouble. */
export function sendPart({ method, url, headers }, slice, { signal, progress }) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    let timer = 0;
    const watch = () => {
      clearTimeout(timer);
      timer = setTimeout(() => request.abort(), SILENCE);
    };
    const stop = () => request.abort();
    request.open(method, url);
    for (const [name, value] of Object.entries(headers)) {
      if (!FORBIDDEN.has(name.toLowerCase())) request.setRequestHeader(name, value);
    }
    request.upload.onprogress = (event) => {
      watch();
      progress(event.loaded);
    };
    request.onloadend = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", stop);
      if (signal.aborted) reject(signal.reason);
      else if (request.status >= 200 && request.status < 300) resolve();
      else reject(trouble(request.status, new URL(url).origin));
    };
    signal.addEventListener("abort", stop);
    if (signal.aborted) return reject(signal.reason);
    watch();
    request.send(slice);
  });
}

/** What a status of the store means; 0: no response that the browser may read. */
function trouble(status, store) {
  if (status === 0) {
    const advice = `If the network works, ask an administrator to check that browsers may send to ${store} (manage.py check_store).`;
    return new Trouble("The object store cannot be reached.", { code: "NETWORK", advice });
  }
  if (status === 403) {
    const advice = "Check the clock of the portal's host, then retry.";
    return new Trouble("The object store refused the signature.", { code: "FORBIDDEN", most: REFUSALS, advice });
  }
  if (status === 400 || status === 404) {
    const why = status === 400 ? "The object store refused the part." : "The object store does not have this upload.";
    return new Trouble(why, { code: `STORE_${status}`, most: REFUSALS, advice: "Cancel the upload and start it again." });
  }
  return new Trouble(`The object store responded with the status ${status}.`, { code: `STORE_${status}`, advice: "Retry in a few minutes." });
}
