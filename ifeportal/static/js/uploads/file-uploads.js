/* <file-uploads>: choose or drop files, watch them being sent, pause, continue, cancel. Server-rendered inside: see
   templates/uploads/panel.html. Without JavaScript the page explains how to upload with curl.

   data-user, data-address (of the uploads API), data-token (CSRF); data-airline and data-campaign fix the destination. */

import { count } from "../format.js";
import { LiveSocket } from "../live/socket.js";
import { SENDING, ENDED, shownFirst, totals } from "./file-upload.js";
import { canHash } from "./hashing.js";
import { MOST_FILES, fromDrop, fromHandles, fromList } from "./picking.js";
import { Uploader } from "./uploader.js";
import { UploadRow, canRetry, setText, totalsText } from "./upload-rows.js";

const ROWS = 100; // drawn at most, until more are asked for
const DRAW_EVERY = 250; // milliseconds
const ASK_EVERY = 5000; // milliseconds, and while the feed works ASK_RARELY
const ASK_RARELY = 20000;

class FileUploads extends HTMLElement {
  connectedCallback() {
    if (this.uploader) return; // moved within the page
    this.rows = new Map();
    this.most = ROWS;
    this.drawn = 0;
    this.ended = "";
    this.uploader = new Uploader({ address: this.dataset.address, token: this.dataset.token, user: this.dataset.user });
    this.parts = Object.fromEntries([...this.querySelectorAll("[data-panel]")].map((part) => [part.dataset.panel, part]));
    this.template = this.querySelector("template");
    this.parts.insecure.hidden = canHash();
    this.parts.folder.hidden = !("webkitdirectory" in this.parts.folderInput);
    this.listen();
    this.uploader.start();
    this.restore();
    setInterval(() => this.tick(), 1000);
    this.ask();
  }

  listen() {
    const { input, folderInput, again } = this.parts;
    this.addEventListener("click", (event) => this.clicked(event));
    input.addEventListener("change", () => this.chosen(input));
    folderInput.addEventListener("change", () => this.chosen(folderInput));
    again.addEventListener("change", () => this.chosenAgain());
    // A file that is dropped beside the element would replace the page.
    addEventListener("dragover", (event) => this.dragged(event, true));
    addEventListener("dragleave", (event) => event.relatedTarget || this.dragged(event, false));
    addEventListener("drop", (event) => this.dropped(event));
    this.uploader.addEventListener("change", () => this.schedule());
    document.addEventListener("live:changes", (event) => this.follow(event.detail.changes));
    if (!document.querySelector("live-page")) this.followSocket();
  }

  followSocket() {
    const ignore = () => {};
    const message = ({ changes }) => this.follow(changes ?? []);
    new LiveSocket({ airline: null, topics: ["operation"] }, null, { live: ignore, lost: ignore, message, signedOut: ignore, refused: ignore });
  }

  follow(changes) {
    this.heard = Date.now();
    this.uploader.followFeed(changes.filter((change) => change.topic === "operation" && change.op === "put").map((change) => change.state));
  }

  async restore() {
    const { airline, campaign } = this.dataset;
    const wanted = (target) => !airline || (target.airline === airline && target.campaign === campaign);
    try {
      await this.uploader.restore(wanted);
    } catch (error) {
      this.say(`Unfinished uploads could not be found. ${error.message}`);
    }
  }

  // Choosing --------------------------------------------------------------------------------------------------------

  get target() {
    if (this.dataset.airline) return { airline: this.dataset.airline, campaign: this.dataset.campaign };
    const [airline, campaign] = this.parts.destination.value.split("/");
    return { airline, campaign };
  }

  async clicked(event) {
    const button = event.target.closest("button");
    if (!button || !this.contains(button)) return;
    const row = button.closest("[data-upload]");
    if (row) this.act(button.dataset.do, this.rows.get(row.dataset.upload).upload);
    else await this.actOnAll(button.dataset.all);
  }

  act(word, upload) {
    const { uploader } = this;
    if (word === "pause") uploader.pause(upload);
    else if (word === "continue" && upload.state === "unfinished") uploader.reopen(upload);
    else if (word === "continue" || word === "retry") uploader.resume(upload);
    else if (word === "replace") uploader.resume(upload, { replace: true });
    else if (word === "choose") this.chooseAgain(upload);
    else if (word === "drop") uploader.drop(upload);
    else if (word === "cancel" && this.mayCancel(upload)) uploader.cancel(upload);
  }

  mayCancel(upload) {
    return !upload.sent || confirm(`Cancel the upload of ${upload.name}? What was sent is deleted.`);
  }

  async actOnAll(word) {
    const { uploads } = this.uploader;
    const each = (test, action) => uploads.filter(test).forEach(action);
    if (word === "choose") await this.choose();
    else if (word === "folder") this.parts.folderInput.click();
    else if (word === "pause") each((upload) => SENDING.has(upload.state), (upload) => this.uploader.pause(upload));
    else if (word === "continue") await this.continueAll();
    else if (word === "retry") each(canRetry, (upload) => this.uploader.resume(upload));
    else if (word === "cancel") this.cancelAll();
    else if (word === "clear") each((upload) => upload.state === "uploaded" || upload.state === "cancelled", (upload) => this.uploader.drop(upload));
    else if (word === "more") {
      this.most += ROWS;
      this.schedule();
    }
  }

  cancelAll() {
    const open = this.uploader.uploads.filter((upload) => SENDING.has(upload.state) || upload.state === "paused");
    if (!confirm(`Cancel ${count(open.length)} unfinished ${open.length === 1 ? "upload" : "uploads"}? What was sent is deleted.`)) return;
    for (const upload of open) this.uploader.cancel(upload);
  }

  async continueAll() {
    for (const upload of [...this.uploader.uploads]) {
      if (upload.state === "paused") this.uploader.resume(upload);
      else if (upload.state === "unfinished" && upload.handle) await this.uploader.reopen(upload);
    }
  }

  async choose() {
    if (!globalThis.showOpenFilePicker) return this.parts.input.click();
    try {
      this.take(await fromHandles(await showOpenFilePicker({ multiple: true })));
    } catch (error) {
      if (error.name !== "AbortError") this.parts.input.click();
    }
  }

  chosen(input) {
    const picked = fromList(input.files);
    this.take(picked);
    input.value = ""; // the same file can be chosen again
  }

  chooseAgain(upload) {
    this.wanted = upload;
    this.parts.again.click();
  }

  chosenAgain() {
    const [file] = this.parts.again.files;
    if (file) this.uploader.give(this.wanted, file);
    this.parts.again.value = "";
  }

  dragged(event, over) {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    this.toggleAttribute("data-over", over);
  }

  async dropped(event) {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    this.removeAttribute("data-over");
    const { target } = this;
    try {
      this.take(await fromDrop(event.dataTransfer), target);
    } catch (error) {
      this.say(`The files could not be read. ${error.message}`);
    }
  }

  take(picked, target = this.target) {
    const known = this.uploader.add(picked.files, target);
    const texts = [];
    if (known) texts.push(`${known} ${known === 1 ? "file is" : "files are"} in the list already.`);
    if (picked.skipped) texts.push(`${picked.skipped} hidden ${picked.skipped === 1 ? "file was" : "files were"} skipped.`);
    if (picked.tooMany) texts.push(`Only the first ${MOST_FILES} files were taken. Add the others later.`);
    if (!picked.files.length && !texts.length) texts.push("No files were found there.");
    this.say(texts.join(" "));
  }

  say(text) {
    setText(this.parts.message, text);
    this.parts.message.hidden = !text;
  }

  // Drawing ---------------------------------------------------------------------------------------------------------

  tick() {
    const now = performance.now();
    for (const upload of this.uploader.uploads) upload.sample(now);
    if (this.uploader.isSending) this.schedule();
  }

  async ask() {
    const wait = this.heard && Date.now() - this.heard < ASK_RARELY ? ASK_RARELY : ASK_EVERY;
    setTimeout(async () => {
      await this.uploader.ask();
      this.ask();
    }, wait);
  }

  schedule() {
    this.timer ??= setTimeout(() => {
      this.timer = null;
      this.drawn = performance.now();
      this.draw();
    }, Math.max(0, this.drawn + DRAW_EVERY - performance.now()));
  }

  draw() {
    const { uploads } = this.uploader;
    const shown = shownFirst(uploads, this.most);
    const before = [...this.parts.list.children].map((node) => node.dataset.upload).join();
    for (const upload of shown) this.rowOf(upload).draw();
    if (before !== shown.map((upload) => upload.key).join()) this.place(shown);
    const more = uploads.length - shown.length;
    this.parts.more.hidden = !more;
    setText(this.parts.moreText, `${count(more)} more files are not shown.`);
    this.drawTotals(uploads);
  }

  rowOf(upload) {
    let row = this.rows.get(upload.key);
    if (row?.upload !== upload) {
      row = new UploadRow(this.template, upload);
      this.rows.set(upload.key, row);
    }
    return row;
  }

  place(shown) {
    const focused = document.activeElement;
    const keys = new Set(shown.map((upload) => upload.key));
    for (const key of this.rows.keys()) if (!keys.has(key)) this.rows.delete(key);
    this.parts.list.replaceChildren(...shown.map((upload) => this.rows.get(upload.key).node));
    if (this.contains(focused)) focused.focus({ preventScroll: true });
  }

  drawTotals(uploads) {
    const sum = totals(uploads);
    const has = (test) => uploads.some(test);
    this.parts.totals.hidden = !uploads.length;
    setText(this.parts.sum, totalsText(sum));
    this.parts.all.value = sum.bytes ? Math.floor((sum.sent * 100) / sum.bytes) : 0;
    const shows = {
      pause: has((upload) => SENDING.has(upload.state)),
      cancel: has((upload) => SENDING.has(upload.state) || upload.state === "paused"),
      continue: has((upload) => upload.state === "paused" || (upload.state === "unfinished" && upload.handle)),
      retry: has(canRetry),
      clear: has((upload) => upload.state === "uploaded" || upload.state === "cancelled"),
    };
    for (const [word, shown] of Object.entries(shows)) this.querySelector(`[data-all="${word}"]`).hidden = !shown;
    this.announce(uploads, sum);
  }

  /** Read out what ended, not what moves. */
  announce(uploads, sum) {
    const ended = `${sum.uploaded} ${sum.failed}`;
    if (this.ended && this.ended !== ended && uploads.some((upload) => ENDED.has(upload.state))) {
      setText(this.parts.status, `${sum.uploaded} of ${sum.files} files uploaded.${sum.failed ? ` ${sum.failed} failed.` : ""}`);
    }
    this.ended = ended;
  }
}

customElements.define("file-uploads", FileUploads);
