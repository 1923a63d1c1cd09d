/* One file on its way: its state, its figures, and what the portal last said of it. No requests.

   States: queued, preparing, sending, completing, paused, unfinished (the file must be given again), elsewhere (another
   tab sends it), processing (the portal works on it), uploaded, failed, cancelled. */

import { RateMeter, secondsLeft } from "./parts.js";

export const ENDED = new Set(["uploaded", "failed", "cancelled"]);
export const SENDING = new Set(["queued", "preparing", "sending", "completing"]);
export const ENDED_THERE = new Set(["failed", "deleted", "uploaded"]); // status of an upload in the portal
const STAGES = { receiving: "receiving", fetching: "fetching", checking: "checking", packing: "packing", placing: "placing" };

export class FileUpload {
  constructor({ key = crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`, file = null, handle = null, target, known = null }) {
    Object.assign(this, { key, file, handle, target, known });
    this.id = known?.id ?? "";
    this.name = file?.name ?? known.name;
    this.size = file?.size ?? known.size;
    this.state = file ? "queued" : "unfinished";
    this.parts = null;
    this.server = null; // the JSON of the upload
    this.error = null; // {code, text, advice}
    this.waiting = ""; // why nothing is sent at the moment
    this.advice = "";
    this.replace = false;
    this.meter = new RateMeter();
    this.stop = new AbortController();
    this.unlock = null;
  }

  /** What the browser remembers to recognise the file. */
  record() {
    const modified = this.file?.lastModified ?? this.known?.modified ?? null;
    const { key, id, name, size, handle } = this;
    return { key, id, name, size, modified, handle, ...this.target };
  }

  fail({ code = "", message, advice = "" }) {
    this.state = "failed";
    this.waiting = "";
    this.error = { code, text: message, advice };
  }

  /** Take over the JSON of the upload from the API or the feed. */
  follow(server) {
    this.server = { ...this.server, ...server };
    const { status, state } = this.server;
    if (status === "uploaded") this.state = "uploaded";
    else if (status === "deleted" || state === "cancelled") this.state = "cancelled";
    else if (status === "failed" || state === "failed" || state === "expired") this.failedThere();
    else if (this.server.completed_at) this.state = "processing";
    if (ENDED.has(this.state)) this.waiting = "";
  }

  failedThere() {
    const { error_code: code, error, advice, state } = this.server;
    const text = error || (state === "expired" ? "The upload has expired, because nothing arrived for too long." : "The upload failed.");
    this.fail({ code, message: text, advice: advice || "Start it again." });
  }

  sample(now) {
    if (this.state === "sending") this.meter.add(this.parts.sent, now);
  }

  get sent() {
    if (this.parts) return this.parts.sent;
    if (this.state === "processing" || this.state === "uploaded") return this.size;
    return this.server?.received_bytes ?? 0;
  }

  get rate() {
    return this.state === "sending" ? this.meter.rate : null;
  }

  get left() {
    return secondsLeft(this.size - this.sent, this.rate);
  }

  /** Whole percent of the current stage; 100 only for a file in place, null while unknown. */
  get percent() {
    if (this.state === "uploaded") return 100;
    if (this.state === "processing") return this.server?.percent ?? null;
    return this.size ? Math.min(99, Math.floor((this.sent * 100) / this.size)) : 0;
  }

  /** What happens to it, as one word or two. */
  get label() {
    if (this.state === "processing") return STAGES[this.server?.stage] ?? "processing";
    return { queued: "waiting", preparing: "starting", completing: "completing", elsewhere: "in another tab" }[this.state] ?? this.state;
  }

  /** The word whose shape and colour the style sheet draws. */
  get look() {
    const looks = { queued: "pending", preparing: "loading", sending: "loading", completing: "loading", processing: "loading",
      paused: "stalled", unfinished: "stalled", elsewhere: "waiting", uploaded: "uploaded", failed: "failed", cancelled: "deleted" };
    return this.waiting && this.state === "sending" ? "waiting" : looks[this.state];
  }
}

/** Counts and bytes of all files. Pure. */
export function totals(uploads) {
  const sum = { files: uploads.length, ended: 0, uploaded: 0, failed: 0, sending: 0, waiting: 0, bytes: 0, sent: 0, rate: 0 };
  for (const upload of uploads) {
    if (upload.state === "cancelled") {
      sum.files -= 1;
      continue;
    }
    if (ENDED.has(upload.state)) sum.ended += 1;
    if (upload.state in sum) sum[upload.state] += 1;
    if (upload.state === "queued") sum.waiting += 1;
    if (upload.state === "failed") continue;
    sum.bytes += upload.size;
    sum.sent += upload.sent;
    sum.rate += upload.rate ?? 0;
  }
  return sum;
}

const ORDER = ["sending", "completing", "preparing", "failed", "unfinished", "elsewhere", "paused", "processing", "queued", "uploaded", "cancelled"];

/** The uploads to show first, at most `most`: what moves, then what needs the user. Their own order within a state. */
export function shownFirst(uploads, most) {
  if (uploads.length <= most) return uploads;
  const groups = new Map(ORDER.map((state) => [state, []]));
  for (const upload of uploads) groups.get(upload.state).push(upload);
  return [...groups.values()].flat().slice(0, most);
}

/** What the portal knows of the file of an upload, from its JSON. */
export function knownOf(row) {
  return {
    id: row.id, name: row.name, size: row.meta_info.size, modified: row.file_modified, firstSum: row.first_part_sha256, partSize: row.part_size,
  };
}
