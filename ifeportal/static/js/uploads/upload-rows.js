/* Draws one row for each file from the page's template. Text reaches the page through textContent only. */

import { count, duration, percent, rate, size } from "../format.js";
import { ENDED, SENDING } from "./file-upload.js";

const isOpenThere = (upload) => Boolean(upload.id) && ["pending", "loading"].includes(upload.server?.status ?? "pending");

/** Which buttons a row has. */
const BUTTONS = {
  pause: (upload) => SENDING.has(upload.state),
  continue: (upload) => upload.state === "paused" || (upload.state === "unfinished" && upload.handle),
  choose: (upload) => (upload.state === "unfinished" && !upload.handle) || isOther(upload),
  retry: (upload) => canRetry(upload),
  replace: (upload) => upload.state === "failed" && upload.error?.code === "NAME_EXISTS",
  cancel: (upload) => isCancellable(upload),
  drop: (upload) => ENDED.has(upload.state),
};

export function canRetry(upload) {
  if (upload.state !== "failed" || isOther(upload) || upload.error?.code === "EMPTY") return false;
  return Boolean(upload.file || upload.server?.can_retry);
}

const isOther = (upload) => upload.state === "failed" && upload.error?.code === "OTHER_FILE" && isOpenThere(upload);

function isCancellable(upload) {
  if (upload.state === "processing") return Boolean(upload.server?.can_cancel);
  if (upload.state === "failed") return isOpenThere(upload);
  return !ENDED.has(upload.state) && upload.state !== "elsewhere";
}

export class UploadRow {
  constructor(template, upload) {
    this.upload = upload;
    this.node = template.content.firstElementChild.cloneNode(true);
    this.node.dataset.upload = upload.key;
    this.parts = Object.fromEntries([...this.node.querySelectorAll("[data-part]")].map((part) => [part.dataset.part, part]));
    this.buttons = [...this.node.querySelectorAll("button[data-do]")];
    this.parts.name.textContent = upload.name;
    this.parts.place.textContent = upload.target.campaign ? `${upload.target.airline} · ${upload.target.campaign}` : `${upload.target.airline} · library`;
    for (const button of this.buttons) button.setAttribute("aria-label", `${button.textContent}: ${upload.name}`);
    this.parts.bar.setAttribute("aria-label", `Progress of ${upload.name}`);
  }

  draw() {
    const { upload, parts } = this;
    this.node.dataset.uploadState = upload.state;
    parts.status.dataset.state = upload.look;
    setText(parts.status, upload.label);
    const known = upload.percent;
    if (known === null) parts.bar.removeAttribute("value");
    else parts.bar.value = known;
    parts.bar.dataset.state = upload.look;
    setText(parts.percent, known === null ? "" : percent(known));
    setText(parts.figures, figures(upload));
    setText(parts.note, note(upload));
    parts.error.hidden = !upload.error;
    setText(parts.code, upload.error?.code ?? "");
    setText(parts.text, upload.error?.text ?? "");
    setText(parts.advice, upload.error?.advice ?? "");
    for (const button of this.buttons) button.hidden = !BUTTONS[button.dataset.do](upload);
  }
}

function figures(upload) {
  if (upload.state === "uploaded" || upload.state === "processing") return size(upload.size);
  const texts = [`${size(upload.sent)} of ${size(upload.size)}`];
  if (upload.rate !== null) texts.push(rate(upload.rate));
  if (upload.left !== null) texts.push(`${duration(upload.left)} left`);
  return texts.join(" · ");
}

const NOTES = {
  unfinished: (upload) => (upload.handle ? "" : "Choose the same file again to continue. What the store has is not sent again."),
  elsewhere: () => "Being uploaded in another tab.",
  processing: () => "All bytes are sent. You can close this page.",
};

function note(upload) {
  if (upload.waiting) return [upload.waiting, upload.advice].filter(Boolean).join(" ");
  if (upload.error) return "";
  return NOTES[upload.state]?.(upload) ?? "";
}

export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** The line about all files. `sum` is of `totals`. */
export function totalsText(sum) {
  const texts = [`${count(sum.uploaded)} of ${count(sum.files)} ${sum.files === 1 ? "file" : "files"} uploaded`];
  if (sum.failed) texts.push(`${count(sum.failed)} failed`);
  if (sum.waiting) texts.push(`${count(sum.waiting)} waiting`);
  texts.push(`${size(sum.sent)} of ${size(sum.bytes)} sent`);
  if (sum.rate) {
    texts.push(rate(sum.rate), `${duration(Math.ceil((sum.bytes - sum.sent) / sum.rate))} left`);
  }
  return texts.join(" · ");
}
