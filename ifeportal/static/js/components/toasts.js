/* Notices of loads that complete or fail, and of the user's operations that end, while the page is open: a toast in a
   corner, and a count in the title.

   Listens to `live:changes` of <live-page>, and reports only state changes of loads that it has seen itself. A page
   without <live-page> follows the user's operations by a socket of its own. The reader can switch
   notices off; the choice is stored in the browser. Text reaches the page through textContent only. */

import { LiveSocket } from "../live/socket.js";

const COLLECT_FOR = 1500; // milliseconds; changes in this time are shown together
const GROUPED_FROM = 4; // so many of one kind become one toast with a count
const MAX_TOASTS = 4;
const COMPLETE_SHOWN_FOR = 12000; // milliseconds; failures stay until they are dismissed
const REMEMBERED = 5000; // loads whose last state is known
const KEY = "notices";

const REPORTED = { complete: "complete", failed: "failed" };
// How a toast shows an operation that ended in this state.
const ENDINGS = { succeeded: "complete", failed: "failed", cancelled: "deleted", expired: "deleted" };

class Notices {
  constructor(box) {
    this.box = box;
    this.known = new Map();
    this.collected = [];
    this.unseen = 0;
    this.title = document.title;
    document.addEventListener("live:changes", (event) => this.receive(event));
    document.addEventListener("visibilitychange", () => document.hidden || this.count(-this.unseen));
  }

  get on() {
    return localStorage.getItem(KEY) !== "off";
  }

  receive(event) {
    for (const change of event.detail.changes) {
      if (change.op !== "put" || !change.state) continue;
      if (change.topic === "load") this.load(change, event.detail.before(`load:${change.object}`));
      if (change.topic === "airline") this.airline(change, event.target);
      if (change.topic === "my_operation") this.operation(change);
    }
    if (this.collected.length && !this.timer) this.timer = setTimeout(() => this.showCollected(), COLLECT_FOR);
  }

  load({ object, state }, shown) {
    const before = this.known.get(object) ?? shown;
    this.remember(object, state.state);
    if (before === undefined || before === state.state || !REPORTED[state.state]) return;
    const path = [state.airline, "tails", state.tail].map(encodeURIComponent).join("/");
    const why = state.state === "failed" && state.error_code ? `: ${state.error_code}` : "";
    this.collected.push({
      newState: state.state,
      number: 1,
      text: `${state.tail} · ${state.campaign} ${state.state}${why}`,
      address: `/airlines/${path}/?campaign=${encodeURIComponent(state.campaign)}`,
    });
  }

  /** An operation of the user has ended. */
  operation({ object, state }) {
    const key = `operation:${object}`;
    if (!ENDINGS[state.state] || this.known.get(key) === state.finished_at) return;
    this.remember(key, state.finished_at);
    const why = state.state === "failed" && state.error_code ? `: ${state.error_code}` : "";
    const text = `${state.title} ${state.status}${why}`;
    this.collected.push({ newState: ENDINGS[state.state], number: 1, text, address: state.page || "/activity/?mine=1", operation: true });
  }

  /** On pages that announce airlines, a growing count of an airline is reported, not each load. */
  airline({ object, state }, page) {
    const key = `airline:${object}`;
    const before = this.known.get(key);
    this.remember(key, { complete: state.complete, failed: state.failed });
    if (!before || page.dataset.announces !== "airline") return;
    for (const newState of Object.keys(REPORTED)) {
      const number = state[newState] - before[newState];
      if (number <= 0) continue;
      const text = `${state.title || state.airline}: ${number} ${number === 1 ? "load" : "loads"} ${newState}`;
      const address = `/airlines/${encodeURIComponent(state.airline)}/?state=${newState}`;
      this.collected.push({ newState, number, text, address });
    }
  }

  remember(key, state) {
    this.known.delete(key); // a Map keeps the order of insertion, so the oldest entry comes first
    this.known.set(key, state);
    if (this.known.size > REMEMBERED) this.known.delete(this.known.keys().next().value);
  }

  showCollected() {
    this.timer = 0;
    const collected = this.collected.splice(0);
    if (!this.on) return;
    const loads = collected.filter((each) => !each.operation);
    for (const newState of Object.keys(REPORTED)) {
      const grouped = (number) => ({ text: `${number} loads ${newState}`, address: `?state=${newState}` });
      this.showSome(newState, loads, grouped);
    }
    const operations = collected.filter((each) => each.operation);
    for (const newState of new Set(Object.values(ENDINGS))) {
      const word = { complete: "succeeded", failed: "failed", deleted: "ended early" }[newState];
      this.showSome(newState, operations, (number) => ({ text: `${number} operations ${word}`, address: "/activity/?mine=1" }));
    }
  }

  /** Show those of this state one by one, or many of them as one toast. */
  showSome(newState, collected, grouped) {
    const some = collected.filter((each) => each.newState === newState);
    const number = some.reduce((sum, each) => sum + each.number, 0);
    if (some.length < GROUPED_FROM) some.forEach((each) => this.show(each));
    else this.show({ newState, ...grouped(number) });
    if (document.hidden) this.count(number);
  }

  show({ newState, text, address }) {
    const note = document.createElement("div");
    note.className = "toast";
    const link = document.createElement("a");
    link.href = address;
    link.className = "state";
    link.dataset.state = newState;
    link.textContent = text;
    const close = document.createElement("button");
    close.type = "button";
    close.className = "button bare";
    close.textContent = "×";
    close.setAttribute("aria-label", `Dismiss: ${text}`);
    close.addEventListener("click", () => note.remove());
    note.append(link, close);
    this.box.append(note);
    while (this.box.children.length > MAX_TOASTS) this.box.firstChild.remove();
    if (newState !== "failed") setTimeout(() => this.expire(note), COMPLETE_SHOWN_FOR);
  }

  /** Remove the toast, but not while it is hovered or focused. */
  expire(note) {
    if (note.matches(":hover, :focus-within")) setTimeout(() => this.expire(note), COMPLETE_SHOWN_FOR);
    else note.remove();
  }

  count(more) {
    this.unseen += more;
    document.title = this.unseen ? `(${this.unseen}) ${this.title}` : this.title;
  }
}

/** Follow the user's operations on a page without <live-page>. */
function followOperations(box) {
  const ignore = () => {};
  const message = ({ changes }) => {
    if (!changes?.length) return;
    box.dispatchEvent(new CustomEvent("live:changes", { bubbles: true, detail: { changes, before: ignore } }));
  };
  const watch = { airline: null, topics: ["my_operation"] };
  const live = () => {
    box.dataset.following = "";
  };
  new LiveSocket(watch, null, { live, lost: ignore, message, signedOut: ignore, refused: ignore });
}

const box = document.querySelector("[data-toasts]");
const isLive = Boolean(document.querySelector("live-page"));
if (box && (isLive || "personal" in box.dataset)) {
  if (!isLive) followOperations(box);
  const notices = new Notices(box);
  const button = document.querySelector("[data-notices-switch]");
  const name = () => {
    button.querySelector("[data-notices-name]").textContent = notices.on ? "on" : "off";
  };
  if (button) {
    name();
    button.hidden = false;
    button.addEventListener("click", () => {
      localStorage.setItem(KEY, notices.on ? "off" : "on");
      name();
    });
  }
}
