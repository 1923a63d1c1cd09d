/* Web Locks: an upload is sent by one tab at a time. The browser frees the locks of a tab that dies.

   Browsers have them in secure contexts only; without them two tabs may send a part twice, which changes nothing. */

const UPLOAD = "ifeportal-upload:";
const TAB = "ifeportal-tab:";
export const tab = Math.random().toString(36).slice(2);

/** Take the lock of the upload; a function that frees it, or null if another tab has it. */
export function lockUpload(id) {
  if (!navigator.locks) return Promise.resolve(() => {});
  return new Promise((resolve, reject) => {
    navigator.locks
      .request(UPLOAD + id, { ifAvailable: true }, (lock) => {
        if (!lock) return resolve(null);
        return new Promise((free) => resolve(free));
      })
      .catch(reject);
  });
}

/** Wait until no other tab has the lock of the upload. */
export function waitForUpload(id, signal) {
  return navigator.locks.request(UPLOAD + id, { signal }, () => {});
}

/** Hold the lock of this tab until it closes. */
export function holdTab() {
  navigator.locks?.request(TAB + tab, () => new Promise(() => {}));
}

/** Which uploads and tabs are in use: functions of an id. */
export async function inUse() {
  const held = navigator.locks ? (await navigator.locks.query()).held.map((lock) => lock.name) : [];
  const names = new Set(held);
  return { upload: (id) => names.has(UPLOAD + id), tab: (id) => id !== tab && names.has(TAB + id) };
}

/** Keeps the screen on while something is sent, where the browser can. */
export class ScreenLock {
  constructor() {
    this.wanted = false;
    document.addEventListener("visibilitychange", () => this.update());
  }

  set(wanted) {
    if (this.wanted === wanted) return;
    this.wanted = wanted;
    this.update();
  }

  async update() {
    if (!navigator.wakeLock) return;
    if (!this.wanted) {
      this.lock?.release();
      this.lock = null;
    } else if (!document.hidden && (!this.lock || this.lock.released)) {
      try {
        this.lock = await navigator.wakeLock.request("screen");
      } catch (error) {
        console.info("the screen may turn off", error.name); // for example when the battery is low
      }
      if (!this.wanted) this.update();
    }
  }
}
