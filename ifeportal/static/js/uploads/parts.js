/* The parts of one file, and which task comes next. Pure; sizes in bytes. */

export class PartQueue {
  constructor(size, partSize) {
    Object.assign(this, { size, partSize });
    this.total = Math.max(1, Math.ceil(size / partSize));
    this.stored = new Set(); // numbers of the parts that the store has
    this.flying = new Map(); // number of a part on its way: bytes sent
    this.returned = []; // numbers to send again, before the others
    this.next = 1;
    this.storedBytes = 0;
  }

  length(number) {
    return Math.min(this.partSize, this.size - (number - 1) * this.partSize);
  }

  /** First and last byte (exclusive). */
  range(number) {
    const start = (number - 1) * this.partSize;
    return [start, start + this.length(number)];
  }

  /** Take over what the store lists. A part of another size is sent again. */
  markStored(parts) {
    for (const { number, size } of parts) {
      if (number >= 1 && number <= this.total && size === this.length(number)) this.done(number);
    }
  }

  /** Send these parts again: the store does not have them. */
  markMissing(numbers) {
    for (const number of numbers) {
      if (!this.stored.delete(number)) continue;
      this.storedBytes -= this.length(number);
      this.returned.push(number);
    }
  }

  /** The number of the next part to send, or null. */
  take() {
    const number = this.returned.shift() ?? this.unsent();
    if (number !== null) this.flying.set(number, 0);
    return number;
  }

  unsent() {
    while (this.next <= this.total && this.stored.has(this.next)) this.next += 1;
    if (this.next > this.total) return null;
    this.next += 1;
    return this.next - 1;
  }

  progress(number, bytes) {
    if (this.flying.has(number)) this.flying.set(number, Math.min(bytes, this.length(number)));
  }

  done(number) {
    this.flying.delete(number);
    if (this.stored.has(number)) return;
    this.stored.add(number);
    this.storedBytes += this.length(number);
  }

  giveBack(number) {
    if (this.flying.delete(number)) this.returned.push(number);
  }

  get hasWork() {
    if (this.returned.length) return true;
    while (this.next <= this.total && this.stored.has(this.next)) this.next += 1;
    return this.next <= this.total;
  }

  get isComplete() {
    return this.stored.size === this.total;
  }

  /** Bytes in the store and on their way. */
  get sent() {
    let bytes = this.storedBytes;
    for (const flying of this.flying.values()) bytes += flying;
    return bytes;
  }
}

const MEBIBYTE = 2 ** 20;

/** The part size that the portal plans for a file, as in campaigns/uploads/part_plan.py. */
export function plannedPartSize(size) {
  const needed = Math.ceil(size / 9000);
  return Math.max(16 * MEBIBYTE, Math.ceil(needed / MEBIBYTE) * MEBIBYTE);
}

/** The first upload with something to do: files come one after another, small ones share the lanes. */
export function nextUpload(uploads) {
  for (const upload of uploads) {
    if (upload.state === "queued" || (upload.state === "sending" && upload.parts.hasWork)) return upload;
  }
  return null;
}

/** Bytes per second over the last seconds. `now` in milliseconds. */
export class RateMeter {
  constructor(span = 10000) {
    this.span = span;
    this.samples = [];
  }

  add(bytes, now) {
    const last = this.samples.at(-1);
    if (last && bytes < last.bytes) this.samples = []; // a part is sent again
    this.samples.push({ bytes, now });
    while (this.samples.length > 2 && now - this.samples[0].now > this.span) this.samples.shift();
  }

  get rate() {
    const first = this.samples[0];
    const last = this.samples.at(-1);
    if (!first || last.now - first.now < 500) return null;
    return Math.round(((last.bytes - first.bytes) * 1000) / (last.now - first.now));
  }
}

export const secondsLeft = (bytes, rate) => (rate > 0 ? Math.ceil(bytes / rate) : null);
