/* Sends files: four lanes take one part after another, of the first file that has any. Draws nothing.

   What the store lists decides which parts are sent. One URL is signed at a time, for every attempt, so none is too old. */

import { ENDED_THERE, knownOf } from "./file-upload.js";
import { CHOOSE_OTHER, SUM_DIFFERS, base64, canHash, difference, hex, requireReadable, sha256 } from "./hashing.js";
import { lockUpload } from "./locks.js";
import { PartQueue, RateMeter, nextUpload, plannedPartSize } from "./parts.js";
import { Failure, Trouble, persist } from "./retries.js";
import { sendPart } from "./sending.js";

const LANES = 4;
const ROUNDS = 3; // of sending what the store still misses after the last part
const QUOTA_PAUSE = 15000; // milliseconds, while files of this page are being processed

export class Sender {
  /** `files`: the Uploader, which has the list of files. */
  constructor(files) {
    this.files = files;
    this.running = 0;
  }

  /** Start lanes for what there is to do. */
  fill() {
    while (this.running < LANES && nextUpload(this.files.uploads)) this.lane();
  }

  async lane() {
    this.running += 1;
    try {
      for (let upload; (upload = nextUpload(this.files.uploads)); ) await this.step(upload);
    } finally {
      this.running -= 1;
    }
    this.files.changed();
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
    this.files.interrupt(upload);
    if (!(error instanceof Failure)) console.error("an upload failed", error);
    upload.fail(error instanceof Failure ? error : { code: "UNEXPECTED", message: String(error.message ?? error), advice: "Retry." });
    this.files.changed();
  }

  options(upload, signal) {
    return { signal, pauses: this.files.pauses, report: (trouble, wait) => this.showTrouble(upload, trouble, wait) };
  }

  showTrouble(upload, trouble, wait) {
    upload.waiting = trouble.signedOut ? trouble.message : `${trouble.message} Next attempt in ${Math.ceil(wait / 1000)} s.`;
    upload.advice = trouble.advice;
    this.files.changed();
  }

  working(upload) {
    upload.waiting = "";
    upload.advice = "";
  }

  async prepare(upload, signal) {
    upload.state = "preparing";
    this.files.changed();
    const options = this.options(upload, signal);
    if (upload.id) await this.continueUpload(upload, options);
    else await this.begin(upload, options);
    if (upload.state !== "preparing") return;
    this.working(upload);
    const { part_size: partSize, parts } = await this.files.api.parts(upload.id, options);
    if (signal.aborted) return;
    Object.assign(upload, { parts: new PartQueue(upload.size, partSize), meter: new RateMeter() });
    upload.parts.markStored(parts);
    upload.state = "sending";
    upload.rounds = 0;
    this.files.changed();
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
      this.files.remember(upload);
    } catch (error) {
      if (error.code !== "NAME_UNDER_WAY" || !error.details?.upload) throw error;
      await this.adopt(upload, error, options);
    }
  }

  /** A quota that files of this page fill becomes free when the portal has processed them. */
  create(body, options) {
    const attempt = async () => {
      try {
        return await this.files.api.create(body, options);
      } catch (error) {
        if (error.code !== "QUOTA" || !this.files.uploads.some((each) => each.state === "processing")) throw error;
        throw new Trouble(error.message, { after: QUOTA_PAUSE, code: error.code });
      }
    };
    return persist(attempt, options);
  }

  /** Continue the unfinished upload of this name, if it is of this file and of this user. */
  async adopt(upload, refusal, options) {
    const other = await this.files.api.get(refusal.details.upload, options);
    const isMine = other.user === this.files.memory.user && !other.completed_at && !other.source_url && other.status !== "deleted";
    if (!isMine) throw refusal;
    const shown = this.files.find(other.id);
    if (shown && shown !== upload) this.files.drop(shown);
    Object.assign(upload, { id: other.id, known: knownOf(other) });
    upload.follow(other);
    await this.continueUpload(upload, options);
  }

  /** Check that the file is the one that was announced, and that no other tab sends it. */
  async continueUpload(upload, options) {
    const server = await this.files.api.get(upload.id, options);
    upload.known = { ...knownOf(server), key: upload.key };
    upload.follow(server);
    if (upload.state !== "preparing") return;
    const why = difference(upload.known, upload.file) || (await this.sumDiffers(upload));
    if (why) throw new Failure("OTHER_FILE", why, CHOOSE_OTHER);
    if (await this.lock(upload)) this.files.remember(upload);
    else this.files.watchOtherTab(upload);
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
      this.files.changed();
    }
  }

  /** Hash the part, sign it and send it; repeat until the store has it. */
  async sendOne(upload, parts, number, signal) {
    const options = this.options(upload, signal);
    const slice = upload.file.slice(...parts.range(number));
    let sum = canHash() ? base64(await sha256(slice)) : "";
    const attempt = async () => {
      const request = await this.files.api.sign(upload.id, number, sum, options);
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
    const server = await this.files.api.get(upload.id, options);
    if (!ENDED_THERE.has(server.status)) return;
    upload.follow(server);
    throw new Failure(server.error_code || "ENDED", server.error || "The upload was ended in the portal.", server.advice || "Start it again.");
  }

  async complete(upload, signal) {
    upload.state = "completing";
    this.files.changed();
    try {
      const server = await this.files.api.complete(upload.id, this.options(upload, signal));
      this.working(upload);
      upload.state = "processing";
      upload.unlock?.();
      upload.unlock = null;
      this.files.forget(upload);
      upload.follow(server);
    } catch (error) {
      if (error.code !== "PARTS_MISSING" || upload.rounds >= ROUNDS) throw error;
      upload.rounds += 1;
      upload.parts.markMissing(error.details.missing ?? []);
      upload.state = "sending";
    }
    this.files.changed();
  }
}
