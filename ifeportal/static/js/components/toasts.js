/* Tells of loads that became complete or failed while the page is open: a note in a corner, a number in the title.

   Hears of them by `live:changes`, which <live-page> dispatches; says only what it saw turn. Can be switched off (kept
   in this browser). Texts reach the page through textContent only. */

const GATHERED_FOR = 1500; // milliseconds in which what turns is told of together
const GROUPED_FROM = 4; // so many of one kind are counted, not listed
const SHOWN = 4; // notes at once
const GOOD_NEWS_FOR = 12000; // failures stay until they are put away
const REMEMBERED = 5000; // loads whose last word is known
const KEY = "notices";

const TURNS = { complete: "complete", failed: "failed" };

class Notices {
  constructor(box) {
    this.box = box;
    this.known = new Map();
    this.gathered = [];
    this.unseen = 0;
    this.title = document.title;
    document.addEventListener("live:changes", (event) => this.hear(event));
    document.addEventListener("visibilitychange", () => document.hidden || this.count(-this.unseen));
  }

  get on() {
    return localStorage.getItem(KEY) !== "off";
  }

  hear(event) {
    for (const change of event.detail.changes) {
      if (change.op !== "put" || !change.state) continue;
      if (change.topic === "load") this.load(change, event.detail.before(`load:${change.object}`));
      if (change.topic === "airline") this.airline(change, event.target);
    }
    if (this.gathered.length && !this.timer) this.timer = setTimeout(() => this.tell(), GATHERED_FOR);
  }

  load({ object, state }, shown) {
    const before = this.known.get(object) ?? shown;
    this.remember(object, state.state);
    if (before === undefined || before === state.state || !TURNS[state.state]) return;
    const path = [state.airline, "tails", state.tail].map(encodeURIComponent).join("/");
    const why = state.state === "failed" && state.error_code ? `: ${state.error_code}` : "";
    this.gathered.push({
      turn: state.state,
      number: 1,
      text: `${state.tail} · ${state.campaign} ${state.state}${why}`,
      address: `/airlines/${path}/?campaign=${encodeURIComponent(state.campaign)}`,
    });
  }

  /** Where the page announces airlines, their counts tell. */
  airline({ object, state }, page) {
    const key = `airline:${object}`;
    const before = this.known.get(key);
    this.remember(key, { complete: state.complete, failed: state.failed });
    if (!before || page.dataset.announces !== "airline") return;
    for (const turn of Object.keys(TURNS)) {
      const number = state[turn] - before[turn];
      if (number <= 0) continue;
      const text = `${state.title || state.airline}: ${number} ${number === 1 ? "load" : "loads"} ${turn}`;
      const address = `/airlines/${encodeURIComponent(state.airline)}/?state=${turn}`;
      this.gathered.push({ turn, number, text, address });
    }
  }

  remember(key, word) {
    this.known.delete(key);
    this.known.set(key, word);
    if (this.known.size > REMEMBERED) this.known.delete(this.known.keys().next().value);
  }

  tell() {
    this.timer = 0;
    const gathered = this.gathered.splice(0);
    if (!this.on) return;
    for (const turn of Object.keys(TURNS)) {
      const some = gathered.filter((each) => each.turn === turn);
      const number = some.reduce((sum, each) => sum + each.number, 0);
      if (some.length < GROUPED_FROM) some.forEach((each) => this.show(each));
      else this.show({ turn, text: `${number} loads ${turn}`, address: `?state=${turn}` });
      if (document.hidden) this.count(number);
    }
  }

  show({ turn, text, address }) {
    const note = document.createElement("div");
    note.className = "toast";
    const link = document.createElement("a");
    link.href = address;
    link.className = "state";
    link.dataset.state = turn;
    link.textContent = text;
    const close = document.createElement("button");
    close.type = "button";
    close.className = "button bare";
    close.textContent = "×";
    close.setAttribute("aria-label", `Put away: ${text}`);
    close.addEventListener("click", () => note.remove());
    note.append(link, close);
    this.box.append(note);
    while (this.box.children.length > SHOWN) this.box.firstChild.remove();
    if (turn === "complete") setTimeout(() => this.leave(note), GOOD_NEWS_FOR);
  }

  /** Not while somebody reads it. */
  leave(note) {
    if (note.matches(":hover, :focus-within")) setTimeout(() => this.leave(note), GOOD_NEWS_FOR);
    else note.remove();
  }

  count(more) {
    this.unseen += more;
    document.title = this.unseen ? `(${this.unseen}) ${this.title}` : this.title;
  }
}

const box = document.querySelector("[data-toasts]");
if (box && document.querySelector("live-page")) {
  const notices = new Notices(box);
  const button = document.querySelector("[data-notices-switch]");
  const name = () => {
    button.querySelector("[data-notices-name]").textContent = notices.on ? "shown" : "off";
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
