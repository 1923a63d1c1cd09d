/* SHA-256 by WebCrypto, and the check that a chosen file is the one whose upload is unfinished. */

import { size } from "../format.js";
import { Failure } from "./retries.js";

export const canHash = () => Boolean(globalThis.crypto?.subtle);

let turn = Promise.resolve(); // one part at a time is in memory

/** The bytes' SHA-256. Raises Failure if the file cannot be read. */
export function sha256(slice) {
  const sum = turn.then(async () => new Uint8Array(await crypto.subtle.digest("SHA-256", await readBytes(slice))));
  turn = sum.catch(() => {});
  return sum;
}

async function readBytes(slice) {
  try {
    return await slice.arrayBuffer();
  } catch (error) {
    throw unreadable(error);
  }
}

/** Raises Failure if the file has changed since it was chosen, or is gone. */
export async function requireReadable(file) {
  await readBytes(file.slice(0, 1));
}

function unreadable(error) {
  if (error.name === "NotFoundError") {
    return new Failure("FILE_GONE", "The file does not exist any more, or was moved.", "Choose the file again to continue.");
  }
  const why = "The file has changed since it was chosen, or it cannot be read.";
  return new Failure("FILE_CHANGED", why, "Cancel this upload, then choose the file again.");
}

export const base64 = (bytes) => btoa(String.fromCharCode(...bytes));
export const hex = (bytes) => [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
export const sameName = (one, other) => one.normalize("NFC") === other.normalize("NFC");

/** Why the file is not the one that was announced: a sentence, or "". Sums are compared by `sumDiffers`. */
export function difference(known, file) {
  if (!sameName(known.name, file.name)) return `The upload is of ${known.name}, and this file is ${file.name}.`;
  if (known.size !== file.size) return `The upload is of a file of ${size(known.size)} (${known.size} bytes). This file has ${file.size} bytes.`;
  const times = known.modified !== null && known.modified !== undefined;
  if (times && known.modified !== file.lastModified) return `The file was modified at ${written(file.lastModified)}, after the upload began.`;
  return "";
}

export const CHOOSE_OTHER = "Choose the original file. To send this file instead, cancel the unfinished upload first.";
export const SUM_DIFFERS = "The file has the same name and size, but its content differs from what was sent.";

function written(time) {
  return `${new Date(time).toISOString().slice(0, 19).replace("T", " ")} UTC`;
}
