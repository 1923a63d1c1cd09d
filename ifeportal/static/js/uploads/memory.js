/* What the browser remembers of unfinished uploads, in IndexedDB: which file, and its handle where the browser has them.

   A record: {key, id, user, tab, airline, campaign, name, size, modified, firstSum, handle, at}. `id` is "" before the
   upload exists in the portal. Without IndexedDB (private windows) nothing is remembered. */

const NAME = "ifeportal-uploads";
const STORE = "files";
const LONGEST = 30 * 86400000; // milliseconds; older records are deleted

export class UploadMemory {
  constructor(user) {
    this.user = user;
    this.opened = null;
  }

  open() {
    this.opened ??= new Promise((resolve) => {
      if (!globalThis.indexedDB) return resolve(null);
      const request = indexedDB.open(NAME, 1);
      request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: "key" });
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => {
        console.info("uploads are not remembered", request.error);
        resolve(null);
      };
    });
    return this.opened;
  }

  /** Records of the user. */
  async all() {
    const records = (await this.run("readonly", (store) => store.getAll())) ?? [];
    const old = records.filter((each) => Date.now() - each.at > LONGEST);
    for (const each of old) await this.forget(each.key);
    return records.filter((each) => each.user === this.user && !old.includes(each));
  }

  async save(record) {
    const whole = { ...record, user: this.user, at: Date.now() };
    try {
      await this.run("readwrite", (store) => store.put(whole));
    } catch {
      // Some browsers cannot store the handle of this kind of file.
      await this.run("readwrite", (store) => store.put({ ...whole, handle: null }));
    }
  }

  forget(key) {
    return this.run("readwrite", (store) => store.delete(key));
  }

  async run(mode, action) {
    const database = await this.open();
    if (!database) return null;
    return new Promise((resolve, reject) => {
      const transaction = database.transaction(STORE, mode);
      const request = action(transaction.objectStore(STORE));
      transaction.oncomplete = () => resolve(request.result);
      transaction.onerror = transaction.onabort = () => reject(transaction.error);
    });
  }
}
