/* Sends files: four lanes take one part after another, of the first file that has any. Draws nothing.

   What the store lists decides which parts are sent. One URL is signed at a time, for every attempt, so none is too old. */

import { UploadsApi } from "./api.js";
import { FileUpload, ENDED, SENDING } from "./file-upload.js";
import { SUM_DIFFERS, base64, canHash, difference, hex, requireReadable, sameName, sha256 } from "./hashing.js";
import { ScreenLock, holdTab, inUse, lockUpload, tab, waitForUpload } from "./locks.js";
import { UploadMemory } from "./memory.js";
import { PartQueue, RateMeter, nextUpload, plannedPartSize } from "./parts.js";
import { Failure, Pauses, Trouble, persist } from "./retries.js";
import { sendPart } from "./sending.js";

const LANES = 4;
const CHOOSE_OTHER = "Choose the original file. To send this file instead, cancel the unfinished upload first.";
const ROUNDS = 3; // of sending what the store still misses after the last part
const QUOTA_PAUSE = 15000; // milliseconds, while files of this page are being processed
const FOLLOWED = 20; // uploads asked for in one round

export class Uploader extends EventTarget {
  constructor({ address, token, user }) {
    super();
    this.pauses = new Pauses();
    this.api = new UploadsApi(address, token, this.pauses);
    this.memory = new UploadMemory(user);
    this.screen = new ScreenLock();
    this.uploads = [];
    this.running = 0;
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

  // Lanes -----------------------------------------------------------------------------------------------------------

  /** Start lanes for what there is to do. */
  fill() {
    while (this.running < LANES && nextUpload(this.uploads)) this.lane();
  }

  async lane() {
    this.running += 1;
    try {
      for (let upload; (upload = nextUpload(this.uploads)); ) await this.step(upload);
    } finally {
      this.running -= 1;
    }
    this.changed();
  }

  /** One task of the upload: begin it, or send a part. Another lane, or a button, may have ended it meanwhile. */
  async step(upload) {
    const { signal } = upload.stop;
    try {
      if (upload.state === "queued") await this.prepare(upload, signal);
      else await this.sendNext(upload, signal);
      if (!signal.aborted && upload.state === "sending" && upload.parts.isComplete) await this.complete(upload, signal);
    } catch (error) {
      if (!signal.aborted) this.failed(upload, error);
    }
    this.fill();
  }

  failed(upload, error) {
    this.interrupt(upload);
    if (!(error instanceof Failure)) console.error("an upload failed", error);
    upload.fail(error instanceof Failure ? error : { code: "UNEXPECTED", message: String(error.message ?? error), advice: "Retry." });
    this.changed();
  }

  options(upload, signal) {
    return { signal, pauses: this.pauses, report: (trouble, wait) => this.showTrouble(upload, trouble, wait) };
  }

  showTrouble(upload, trouble, wait) {
    upload.waiting = trouble.signedOut ? trouble.message : `${trouble.message} Next attempt in ${Math.ceil(wait / 1000)} s.`;
    upload.advice = trouble.advice;
    this.changed();
  }

  working(upload) {
    upload.waiting = "";
    upload.advice = "";
  }

  async prepare(upload, signal) {
    upload.state = "preparing";
    this.changed();
    const options = this.options(upload, signal);
    if (upload.id) await this.continueUpload(upload, options);
    else await this.begin(upload, options);
    if (upload.state !== "preparing") return;
    this.working(upload);
    const { part_size: partSize, parts } = await this.api.parts(upload.id, options);
    if (signal.aborted) return;
    Object.assign(upload, { parts: new PartQueue(upload.size, partSize), meter: new RateMeter() });
    upload.parts.markStored(parts);
    upload.state = "sending";
    upload.rounds = 0;
    this.changed();
    this.fill();
  }

  /** Create the upload, or find the unfinished one of this file. */
  async begin(upload, options) {
    const { file, target } = upload;
    const sum = await this.firstSum(upload, plannedPartSize(upload.size));
    const body = {
      airline: target.airline, campaign: target.campaign, name: file.name, size: file.size, replace: upload.replace,
      content_type: /^[\w.+-]+\/[\w.+-]+$/.test(file.type) ? file.type : "", file_modified: file.lastModified, first_part_sha256: sum,
    };
    try {
      upload.follow(await this.create(body, options));
      upload.id = upload.server.id;
      await this.lock(upload);
      this.remember(upload);
    } catch (error) {
      if (error.code !== "NAME_UNDER_WAY" || !error.details?.upload) throw error;
      await this.adopt(upload, error, options);
    }
  }

  /** A quota that files of this page fill becomes free when the portal has processed them. */
  create(body, options) {
    const attempt = async () => {
      try {
        return await this.api.create(body, options);
      } catch (error) {
        if (error.code !== "QUOTA" || !this.uploads.some((each) => each.state === "processing")) throw error;
        throw new Trouble(error.message, { after: QUOTA_PAUSE, code: error.code });
      }
    };
    return persist(attempt, options);
  }

  /** Continue the unfinished upload of this name, if it is of this file and of this user. */
  async adopt(upload, refusal, options) {
    const other = await this.api.get(refusal.details.upload, options);
    const isMine = other.user === this.memory.user && !other.completed_at && !other.source_url && other.status !== "deleted";
    if (!isMine) throw refusal;
    const shown = this.find(other.id);
    if (shown && shown !== upload) this.drop(shown);
    Object.assign(upload, { id: other.id, known: knownOf(other) });
    upload.follow(other);
    await this.continueUpload(upload, options);
  }

  /** Check that the file is the one that was announced, and that no other tab sends it. */
  async continueUpload(upload, options) {
    const server = await this.api.get(upload.id, options);
    upload.known = { ...knownOf(server), key: upload.key };
    upload.follow(server);
    if (upload.state !== "preparing") return;
    const why = difference(upload.known, upload.file) || (await this.sumDiffers(upload));
    if (why) throw new Failure("OTHER_FILE", why, CHOOSE_OTHER);
    if (await this.lock(upload)) this.remember(upload);
    else this.watchOtherTab(upload);
  }

  async sumDiffers(upload) {
    const { firstSum, partSize } = upload.known;
    if (!firstSum || !canHash()) return "";
    return (await this.firstSum(upload, partSize)) === firstSum ? "" : SUM_DIFFERS;
  }

  async firstSum(upload, length) {
    return canHash() ? hex(await sha256(upload.file.slice(0, length))) : "";
  }

  async lock(upload) {
    upload.unlock ??= await lockUpload(upload.id);
    return Boolean(upload.unlock);
  }

  async sendNext(upload, signal) {
    const { parts } = upload;
    const number = parts.take();
    if (number === null) return;
    try {
      await this.sendOne(upload, parts, number, signal);
      parts.done(number);
      this.working(upload);
    } finally {
      parts.giveBack(number); // changes nothing once it is done
      this.changed();
    }
  }

  /** Hash the part, sign it and send it; repeat until the store has it. */
  async sendOne(upload, parts, number, signal) {
    const options = this.options(upload, signal);
    const slice = upload.file.slice(...parts.range(number));
    let sum = canHash() ? base64(await sha256(slice)) : "";
    const attempt = async () => {
      const request = await this.api.sign(upload.id, number, sum, options);
      this.working(upload);
      try {
        await sendPart(request, slice, { signal, progress: (bytes) => parts.progress(number, bytes) });
      } catch (error) {
        if (!(error instanceof Trouble)) throw error;
        parts.progress(number, 0);
        await requireReadable(upload.file); // a changed file looks like a broken connection
        if (error.code === "STORE_404") await this.requireOpen(upload, options);
        if (error.code === "STORE_400" && sum) sum = base64(await sha256(slice));
        throw error;
      }
    };
    await persist(attempt, options);
  }

  /** Raises Failure if the portal has ended the upload. */
  async requireOpen(upload, options) {
    const server = await this.api.get(upload.id, options);
    if (!ENDED_THERE.has(server.status)) return;
    upload.follow(server);
    throw new Failure(server.error_code || "ENDED", server.error || "The upload was ended in the portal.", server.advice || "Start it again.");
  }

  async complete(upload, signal) {
    upload.state = "completing";
    this.changed();
    try {
      const server = await this.api.complete(upload.id, this.options(upload, signal));
      this.working(upload);
      upload.state = "processing";
      upload.unlock?.();
      upload.unlock = null;
      this.forget(upload);
      upload.follow(server);
    } catch (error) {
      if (error.code !== "PARTS_MISSING" || upload.rounds >= ROUNDS) throw error;
      upload.rounds += 1;
      upload.parts.markMissing(error.details.missing ?? []);
      upload.state = "sending";
    }
    this.changed();
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

const ENDED_THERE = new Set(["failed", "deleted", "uploaded"]);
const sameTarget = (one, other) => one.airline === other.airline && one.campaign === other.campaign;

/** Whether the feed decides about it: while it is sent here, only its end. */
const isFollowed = (upload) => !ENDED.has(upload.state);

function knownOf(row) {
  return {
    id: row.id, name: row.name, size: row.meta_info.size, modified: row.file_modified, firstSum: row.first_part_sha256, partSize: row.part_size,
  };
}
