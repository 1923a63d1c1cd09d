/* The files of a page and what the user does with them: choose, continue, pause, cancel. Sent by sender.js. Draws nothing. */

import { UploadsApi } from "./api.js";
import { ENDED, ENDED_THERE, FileUpload, SENDING, knownOf } from "./file-upload.js";
import { CHOOSE_OTHER, difference, sameName } from "./hashing.js";
import { ScreenLock, holdTab, inUse, tab, waitForUpload } from "./locks.js";
import { UploadMemory } from "./memory.js";
import { Pauses } from "./retries.js";
import { Sender } from "./sender.js";

const FOLLOWED = 20; // uploads asked for in one round

export class Uploader extends EventTarget {
  constructor({ address, token, user }) {
    super();
    this.pauses = new Pauses();
    this.api = new UploadsApi(address, token, this.pauses);
    this.memory = new UploadMemory(user);
    this.screen = new ScreenLock();
    this.uploads = [];
    this.sender = new Sender(this);
  }

  start() {
    this.pauses.listen();
    holdTab();
    addEventListener("beforeunload", (event) => {
      if (!this.isSending) return;
      event.preventDefault();
      event.returnValue = true; // for browsers that need it besides
    });
  }

  changed() {
    this.screen.set(this.isSending);
    this.dispatchEvent(new Event("change"));
  }

  get isSending() {
    return this.uploads.some((upload) => SENDING.has(upload.state));
  }

  /** Start lanes for what there is to do. */
  fill() {
    this.sender.fill();
  }

  // Choosing files ------------------------------------------------------------------------------------------------

  /** Add chosen files, {file, handle}. Those of unfinished uploads continue them. Returns how many were there already. */
  add(files, target) {
    let known = 0;
    for (const { file, handle } of files) known += this.addOne(file, handle, target) ? 0 : 1;
    this.changed();
    this.fill();
    return known;
  }

  addOne(file, handle, target) {
    const same = this.uploads.filter((each) => sameTarget(each.target, target) && sameName(each.name, file.name));
    const open = same.find((each) => !ENDED.has(each.state));
    if (open?.state === "unfinished") return this.give(open, file, handle);
    if (open) {
      if (open.size === file.size && open.file?.lastModified === file.lastModified) return false;
      this.refuse(file, target, "Another file of this name is in the list.", "Rename one of the two files.");
      return true;
    }
    const failed = same.find((each) => each.state === "failed");
    if (failed) this.drop(failed);
    const upload = new FileUpload({ file, handle, target });
    this.uploads.push(upload);
    if (file.size === 0) upload.fail({ code: "EMPTY", message: "The file is empty.", advice: "Check the file." });
    else if (handle) this.remember(upload);
    return true;
  }

  refuse(file, target, message, advice) {
    const upload = new FileUpload({ file, target });
    upload.fail({ message, advice });
    this.uploads.push(upload);
  }

  /** Continue an unfinished upload with a file that the user chose. */
  give(upload, file, handle = null) {
    const why = difference(upload.known ?? upload, file);
    if (why) {
      upload.error = { code: "OTHER_FILE", text: why, advice: CHOOSE_OTHER };
    } else {
      Object.assign(upload, { file, error: null, state: "queued", handle: handle ?? upload.handle });
    }
    this.changed();
    this.fill();
    return true;
  }

  /** Continue by the remembered handle: the browser asks the user for permission. */
  async reopen(upload) {
    try {
      const mode = { mode: "read" };
      const granted = (await upload.handle.queryPermission?.(mode)) ?? "granted";
      if (granted !== "granted" && (await upload.handle.requestPermission(mode)) !== "granted") return;
      this.give(upload, await upload.handle.getFile(), upload.handle);
    } catch (error) {
      console.info("the handle of the file is of no use", error);
      upload.handle = null; // the user chooses the file again
      upload.error = { code: "FILE_GONE", text: "The browser cannot open the file any more.", advice: "Choose the file again." };
      this.changed();
    }
  }

  /** Find the user's unfinished uploads; `wanted(target)` chooses those of this page. */
  async restore(wanted) {
    const [records, rows] = await Promise.all([this.memory.all(), this.api.unfinished()]);
    const use = await inUse();
    for (const row of rows) {
      const record = records.find((each) => each.id === row.id);
      if (row.source_url || (!record && row.file_modified === null)) continue; // a worker or a program sends it
      const target = { airline: row.airline, campaign: row.campaign };
      if (wanted(target) && !this.find(row.id)) this.restoreRow(row, record, target, use);
    }
    for (const record of records) await this.restoreRecord(record, rows, wanted, use);
    this.changed();
  }

  restoreRow(row, record, target, use) {
    const upload = new FileUpload({ key: record?.key, handle: record?.handle, target, known: knownOf(row) });
    upload.follow(row);
    if (upload.state === "unfinished" && use.upload(row.id)) this.watchOtherTab(upload);
    this.uploads.push(upload);
  }

  /** A file that was chosen, but whose upload did not begin, is of use only with its handle. */
  async restoreRecord(record, rows, wanted, use) {
    const target = { airline: record.airline, campaign: record.campaign };
    if (record.id ? rows.some((row) => row.id === record.id) : use.tab(record.tab)) return;
    if (record.id || !record.handle) await this.memory.forget(record.key);
    else if (wanted(target) && !this.uploads.some((each) => each.key === record.key)) {
      this.uploads.push(new FileUpload({ key: record.key, handle: record.handle, target, known: record }));
    }
  }

  find(id) {
    return this.uploads.find((upload) => upload.id === id);
  }

  async watchOtherTab(upload) {
    upload.state = "elsewhere";
    this.changed();
    try {
      await waitForUpload(upload.id, upload.stop.signal);
      upload.state = upload.file ? "paused" : "unfinished";
      upload.follow(await this.api.get(upload.id, { signal: upload.stop.signal }));
    } catch (error) {
      if (error.name !== "AbortError") upload.fail(error);
    }
    this.changed();
  }

  remember(upload) {
    this.memory.save({ ...upload.record(), tab }).catch((error) => console.info("the upload is not remembered", error));
  }

  // Buttons ---------------------------------------------------------------------------------------------------------

  pause(upload) {
    if (!SENDING.has(upload.state)) return;
    upload.state = "paused";
    upload.waiting = "";
    this.interrupt(upload);
    this.changed();
  }

  interrupt(upload) {
    upload.stop.abort(new DOMException("stopped", "AbortError"));
    upload.stop = new AbortController();
    upload.unlock?.();
    upload.unlock = null;
  }

  resume(upload, { replace = false } = {}) {
    if (upload.state !== "paused" && upload.state !== "failed") return;
    if (upload.state === "failed" && upload.server?.can_retry) return this.retryThere(upload);
    Object.assign(upload, { state: upload.file ? "queued" : "unfinished", error: null, replace: replace || upload.replace, parts: null });
    if (ENDED_THERE.has(upload.server?.status)) Object.assign(upload, { id: "", server: null, known: null });
    this.changed();
    this.fill();
  }

  /** The portal repeats its own work; the file is sent again only if the store has lost it. */
  async retryThere(upload) {
    Object.assign(upload, { state: "processing", error: null, server: { ...upload.server, percent: null, stage: "" } });
    this.changed();
    try {
      await this.api.retry(upload.id);
      const server = await this.api.get(upload.id);
      if (!server.completed_at) Object.assign(upload, { state: upload.file ? "queued" : "unfinished", known: knownOf(server), parts: null });
      upload.follow(server);
    } catch (error) {
      upload.fail(error);
    }
    this.changed();
    this.fill();
  }

  /** Stop sending, and delete the upload in the portal. */
  async cancel(upload) {
    upload.state = "cancelled";
    upload.waiting = "";
    this.interrupt(upload);
    this.forget(upload);
    this.changed();
    if (!upload.id) return this.drop(upload);
    try {
      await this.api.remove(upload.id);
      this.drop(upload);
    } catch (error) {
      upload.fail(error);
      this.changed();
    }
  }

  /** Take it off the list. */
  drop(upload) {
    this.forget(upload);
    upload.stop.abort(new DOMException("stopped", "AbortError"));
    this.uploads = this.uploads.filter((each) => each !== upload);
    this.changed();
  }

  forget(upload) {
    this.memory.forget(upload.key).catch((error) => console.info("the record stays", error));
  }

  // The portal's work -------------------------------------------------------------------------------------------------

  /** Take over states of operations from the feed. */
  followFeed(states) {
    let changed = false;
    for (const state of states) {
      const upload = state && this.find(state.id);
      if (!upload || !isFollowed(upload)) continue;
      this.followOne(upload, state);
      changed = true;
    }
    if (changed) this.changed();
  }

  followOne(upload, server) {
    upload.follow(server);
    if (!ENDED.has(upload.state)) return;
    this.interrupt(upload);
    this.forget(upload);
  }

  /** Ask for uploads that the portal works on: the feed may have missed something. */
  async ask() {
    const waiting = this.uploads.filter((each) => each.state === "processing" && each.id).slice(0, FOLLOWED);
    for (const upload of waiting) {
      try {
        this.followOne(upload, await this.api.get(upload.id));
      } catch (error) {
        if (error.code === "HTTP_404") upload.fail(error);
        else console.info("an upload could not be asked for", error);
      }
    }
    if (waiting.length) this.changed();
  }
}

const sameTarget = (one, other) => one.airline === other.airline && one.campaign === other.campaign;

/** Whether the feed decides about it: while it is sent here, only its end. */
const isFollowed = (upload) => !ENDED.has(upload.state);
