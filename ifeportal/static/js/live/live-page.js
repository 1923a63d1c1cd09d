/* <live-page>: updates the figures of a server-rendered page.

   A row has data-key="<topic>:<id>", or several keys separated by spaces; fields of the further ones are written
   "<topic>.<field>". Elements in the row have data-field (a key of the row's state) and data-as (its format), or
   data-show and data-hide (fields that decide whether the element is visible). The page lists its topics in data-topics.
   data-newest-<topic> is the newest object on the page: any newer one is a new row. data-joins lists
   "<topic>:<status>": an object of that topic joins the page when it changes to that status; with "@<field>" after it,
   only if the page has a row with that field's value in data-<field> that is not in that state already.

   Changes are collected and applied once per frame. What cannot be patched (a new row, a row that changed state, a
   figure in a data-refresh) makes the page be fetched again and its data-swap parts replaced, at most once per
   REFRESH_EVERY (large pages: REFRESH_LARGE). Text reaches the page through textContent and attributes only, so that
   names from the buckets cannot inject markup. */

import { FORMATS, age, band, free, instant, parts, percent, segments, until } from "../format.js";
import { LiveSocket } from "./socket.js";

const REFRESH_EVERY = 5000; // milliseconds
const REFRESH_LARGE = 20000; // for a page of many rows, which is expensive to render
const MANY_ROWS = 300;
const REFRESH_SOON = 700;
const CHANGED_FOR = 1000;
const PERSONAL_TOPIC = "my_operation"; // operations of the user that ended, for the toasts of every page
const FRESHNESS_EVERY = 10000;
// Figures that change all the time are not highlighted.
const CALM = new Set(["size", "rate", "duration", "band", "free", "age", "until", "instant", "bar", "parts", "segments"]);
// Formats that use more than one field of the state.
const COMPOSITE = { band: writeBand, parts: writeParts, segments: writeSegments };

class LivePage extends HTMLElement {
  connectedCallback() {
    this.pending = new Map();
    this.receivedDuringRefresh = [];
    this.requested = new Set();
    this.joins = new Map((this.dataset.joins ?? "").split(" ").map((rule) => rule.split("@")));
    this.refreshed = 0;
    this.refreshing = false;
    this.setClock(this.dataset.now);
    this.receivedAt = this.now();
    this.index();
    this.socket = new LiveSocket(this.watch(), Number(this.dataset.rev), {
      live: () => this.connected(true),
      lost: (sentence) => this.connected(false, sentence),
      message: (data) => this.receive(data),
      signedOut: () => this.signedOut(),
      refused: (sentence) => this.showStatus("lost", sentence || "Live updates unavailable"),
    });
    this.timers = [
      setInterval(() => this.updateAges(), 1000),
      setInterval(() => this.fetchFreshness(), FRESHNESS_EVERY + Math.random() * 2000),
    ];
  }

  disconnectedCallback() {
    this.socket.end();
    this.timers.forEach(clearInterval);
  }

  watch() {
    const { airline, tail, campaign, topics } = this.dataset;
    const watch = { airline: airline ?? null, topics: [...topics.split(" "), PERSONAL_TOPIC] };
    if (tail) watch.tail = tail;
    if (campaign) watch.campaign = campaign;
    return watch;
  }

  // Ages are measured by the server's clock: the reader's may be wrong.
  setClock(text) {
    this.offset = Date.parse(text) - Date.now();
  }

  now() {
    return Date.now() + this.offset;
  }

  // Elements of the page -----------------------------------------------------------------------------------------

  index() {
    this.rows = new Map();
    this.parts = new WeakMap();
    this.places = new Map();
    const fields = [...this.joins.values()].filter(Boolean);
    for (const row of this.querySelectorAll("[data-key]")) {
      for (const key of row.dataset.key.split(" ")) {
        if (!this.rows.has(key)) this.rows.set(key, []);
        this.rows.get(key).push(row);
      }
      for (const field of fields) if (row.dataset[field]) this.places.set(`${field}:${row.dataset[field]}`, row);
    }
    this.times = [...document.querySelectorAll("time[data-as=age], time[data-as=until]")];
    this.template = this.querySelector("template#fault");
  }

  partsOf(row) {
    let parts = this.parts.get(row);
    if (!parts) {
      const own = (selector) => [...row.querySelectorAll(selector)].filter((e) => e.closest("[data-key]") === row);
      parts = { fields: own("[data-field]"), shows: own("[data-show], [data-hide]") };
      this.parts.set(row, parts);
    }
    return parts;
  }

  // Changes ----------------------------------------------------------------------------------------------------

  receive(data) {
    this.receivedAt = this.now();
    if (data.reload) return this.refresh(true);
    if (!data.changes?.length) return;
    const before = (key) => this.rows.get(key)?.[0].dataset.state;
    this.dispatchEvent(new CustomEvent("live:changes", { bubbles: true, detail: { changes: data.changes, before } }));
    if (this.refreshing) this.receivedDuringRefresh.push(data);
    this.merge(data);
  }

  merge(data) {
    for (const change of data.changes) {
      const key = `${change.topic}:${change.object}`;
      if (this.rows.has(key)) this.pending.set(key, change);
      else if (change.op === "put") this.considerRow(key, change);
    }
    if (this.pending.size && !this.frame) this.frame = requestAnimationFrame(() => this.flush());
  }

  /** Refresh the page if a row that it does not show is new, or has changed to a status that joins the page. */
  considerRow(key, change) {
    const newest = this.getAttribute(`data-newest-${change.topic}`);
    const isNew = newest !== null && change.object > Number(newest);
    const status = `${change.topic}:${change.state.status}`;
    if (!isNew && !this.joins.has(status)) this.requested.delete(key);
    if (this.requested.has(key)) return;
    if (!isNew && !this.joinsPage(status, change.state)) return;
    this.requested.add(key);
    this.refresh();
  }

  joinsPage(status, state) {
    const field = this.joins.get(status);
    if (!field) return this.joins.has(status);
    const shown = this.places.get(`${field}:${state[field]}`);
    return shown !== undefined && shown.dataset.state !== state.status;
  }

  flush() {
    this.frame = 0;
    const changed = [];
    for (const [key, change] of this.pending) {
      if (change.op === "delete") this.refresh();
      else for (const row of this.rows.get(key) ?? []) this.patch(row, key, change.state, changed);
    }
    this.pending.clear();
    this.flash(changed);
  }

  patch(row, key, state, changed) {
    const first = row.dataset.key.split(" ")[0] === key;
    const prefix = first ? "" : `${key.split(":")[0]}.`;
    if (row.classList.contains("cell")) {
      if (patchCell(row, state, changed)) this.refresh(); // the page also counts how many tails have the item
      return;
    }
    const valueOf = (name) => {
      if (!name.startsWith(prefix)) return undefined;
      return state[name.slice(prefix.length)];
    };
    if (first && (state.error || state.error_code)) this.addErrorLine(row);
    const { fields, shows } = this.partsOf(row);
    for (const element of fields) {
      const composite = COMPOSITE[element.dataset.as];
      if (composite) {
        if (valueOf(element.dataset.field) !== undefined) composite(element, state);
        continue;
      }
      const value = valueOf(element.dataset.field);
      if (value === undefined || !this.write(element, value)) continue;
      if (!CALM.has(element.dataset.as)) changed.push(element);
      const stateChanged = element.dataset.as === "state" && !row.closest("[data-steady]");
      if (stateChanged || element.parentElement.hasAttribute("data-refresh")) this.refresh();
    }
    for (const element of shows) {
      const { show, hide } = element.dataset;
      const values = (show ?? hide).split(" ").map(valueOf);
      if (values.some((value) => value !== undefined)) element.hidden = values.some(Boolean) === Boolean(hide);
    }
    if (first && row.hasAttribute("data-state") && state.state) row.dataset.state = state.state;
  }

  /** Add the line for an error to a row of the tails' table that has none. */
  addErrorLine(row) {
    if (!this.template || row.localName !== "tbody" || row.querySelector(".fault-row")) return;
    row.append(this.template.content.cloneNode(true));
    this.parts.delete(row);
  }

  /** Write one figure; true if the displayed text changed. */
  write(element, value) {
    const how = element.dataset.as;
    if (how === "bar") return writeBar(element, value);
    if (how === "age" || how === "until") return this.writeTime(element, value);
    if (how === "state") element.dataset.state = value;
    let text = value === null || value === "" ? element.dataset.empty ?? "" : String(value);
    if (how === "instant") text = value ? instant(Date.parse(value)) : "";
    else if (how === "free") text = free(value);
    else if (how in FORMATS) text = FORMATS[how](value);
    if (how === "count") element.closest(".chip, .tally-of")?.classList.toggle("none", !value);
    return setText(element, text);
  }

  writeTime(element, value) {
    if (value) {
      element.dateTime = value;
      element.title = instant(Date.parse(value));
    } else {
      element.removeAttribute("datetime");
      element.removeAttribute("title");
    }
    setText(element, span(element, this.now()));
    return true;
  }

  flash(elements) {
    const mark = String(performance.now());
    for (const element of elements) element.dataset.changed = mark;
    setTimeout(() => {
      for (const element of elements) if (element.dataset.changed === mark) delete element.dataset.changed;
    }, CHANGED_FOR);
  }

  // Refresh of the page -------------------------------------------------------------------------------------

  refresh(now = false) {
    if (this.refreshTimer || this.refreshing) {
      this.again = this.refreshing;
      return;
    }
    const pause = this.rows.size > MANY_ROWS ? REFRESH_LARGE : REFRESH_EVERY;
    const wait = now ? 0 : Math.max(REFRESH_SOON, this.refreshed + pause - Date.now());
    this.refreshTimer = setTimeout(() => this.fetchPage(), wait + Math.random() * 300);
  }

  async fetchPage() {
    this.refreshTimer = 0;
    this.refreshing = true;
    this.refreshed = Date.now();
    try {
      const response = await fetch(location.href, { credentials: "same-origin", redirect: "manual" });
      if (response.type === "opaqueredirect") return this.signedOut();
      if (!response.ok) throw new Error(`status ${response.status}`);
      this.swap(new DOMParser().parseFromString(await response.text(), "text/html"));
    } catch {
      this.again = this.isConnected;
    } finally {
      this.refreshing = false;
      this.receivedDuringRefresh = [];
      if (this.again) this.refresh();
      this.again = false;
    }
  }

  swap(page) {
    const fresh = page.querySelector("live-page");
    if (!fresh) return;
    const focus = keepFocus(this);
    const scrolled = [...this.querySelectorAll(".scroll")].map((box) => [box.scrollLeft, box.scrollTop]);
    for (const part of this.querySelectorAll("[data-swap]")) {
      const other = fresh.querySelector(`#${CSS.escape(part.id)}`);
      if (!other) continue;
      keepForms(part, other);
      keepOrder(part, other);
      keepCharts(part, other);
      part.replaceChildren(...document.adoptNode(other).childNodes);
    }
    for (const { name, value } of fresh.attributes) if (name.startsWith("data-newest-")) this.setAttribute(name, value);
    this.setClock(fresh.dataset.now);
    [...this.querySelectorAll(".scroll")].forEach((box, place) => scrolled[place] && box.scrollTo(...scrolled[place]));
    focus();
    this.index();
    this.updateAges();
    this.dispatchEvent(new CustomEvent("live:swapped"));
    // Changes received during the request may be newer than the page.
    for (const data of this.receivedDuringRefresh) if (data.rev > Number(fresh.dataset.rev)) this.merge(data);
  }

  // Status of the connection -------------------------------------------------------------------------------------

  connected(live, sentence = "") {
    if (live) this.showStatus("live", "Live");
    else this.showStatus("lost", `Reconnecting… Last update ${instant(this.receivedAt).slice(11)}`, sentence);
  }

  signedOut() {
    this.showStatus("lost", "Signed out");
    const last = Number(sessionStorage.getItem("signed-out") ?? 0);
    sessionStorage.setItem("signed-out", String(Date.now()));
    if (Date.now() - last > 60000) location.reload();
  }

  showStatus(state, text, why = "") {
    const element = document.querySelector("[data-live-status]");
    if (!element || (element.dataset.state === state && state === "live")) return;
    element.dataset.state = state;
    element.title = why;
    setText(element, text);
  }

  updateAges() {
    const now = this.now();
    for (const element of this.times) {
      if (element.dateTime) setText(element, span(element, now));
    }
  }

  async fetchFreshness() {
    if (document.hidden || !this.dataset.freshness) return;
    try {
      const response = await fetch(this.dataset.freshness, { credentials: "same-origin", redirect: "manual" });
      if (response.type === "opaqueredirect") return this.signedOut();
      if (!response.ok) return;
      const { now, airlines, away } = await response.json();
      this.setClock(now);
      for (const [name, state] of Object.entries(airlines)) {
        for (const row of this.rows.get(`poll:${name}`) ?? []) this.patch(row, `poll:${name}`, state, []);
      }
      for (const row of this.rows.get("poll:") ?? []) this.patch(row, "poll:", away, []);
    } catch {
      // The socket shows whether the server is reachable, and ages keep growing in the meantime.
    }
  }
}

/** The age of the time of a <time>, or the time until then. */
function span(element, now) {
  return (element.dataset.as === "until" ? until : age)(element.dateTime ? Date.parse(element.dateTime) : null, now);
}

function setText(element, text) {
  if (element.textContent === text) return false;
  element.textContent = text;
  return true;
}

function writeBar(element, value) {
  if (value === null) element.removeAttribute("value");
  else element.value = value;
  return true;
}

function writeBand(element, state) {
  setText(element, band(state.eta_seconds, state.eta_latest_seconds));
}

function writeParts(svg, state) {
  const [done, flight, lost] = parts(state);
  svg.classList.toggle("unknown", state.percent === null);
  const spans = [[0, done], [done, flight], [100 - lost, lost]];
  [...svg.children].forEach((rect, place) => setSpan(rect, ...spans[place]));
}

function writeSegments(svg, state) {
  const rects = new Map([...svg.children].map((rect) => [rect.dataset.state, rect]));
  for (const [word, start, width] of segments(state)) setSpan(rects.get(word), start, width);
}

function setSpan(rect, start, width) {
  const values = { x: `${start}%`, width: `${width}%` };
  for (const [name, value] of Object.entries(values)) {
    if (rect.getAttribute(name) !== value) rect.setAttribute(name, value);
  }
}

/** Write one cell of the matrix; true if its state changed. */
function patchCell(cell, state, changed) {
  const word = state.state;
  const stateChanged = cell.dataset.state !== word;
  const about = cell.title.slice(0, cell.title.lastIndexOf(": "));
  cell.title = `${about}: ${word} ${percent(state.percent)}`;
  if (stateChanged) changed.push(cell);
  cell.dataset.state = word;
  setText(cell.firstElementChild, word === "loading" ? percent(state.percent) : word);
  return stateChanged;
}

/** Keep the search form, in which the reader may be typing. */
function keepForms(part, other) {
  const forms = part.querySelectorAll("form.find");
  other.querySelectorAll("form.find").forEach((form, place) => forms[place] && form.replaceWith(forms[place]));
}

/** Keep the order of the rows as long as they are the same rows, so that nothing moves while it is read. */
function keepOrder(part, other) {
  for (const list of part.querySelectorAll("[data-rows]")) {
    const fresh = other.querySelector(`[data-rows="${list.dataset.rows}"]`);
    if (!fresh) continue;
    const place = (row) => row.dataset.key.split(" ").at(-1);
    const rows = new Map([...fresh.children].filter((row) => row.dataset.key).map((row) => [place(row), row]));
    const keys = [...list.children].filter((row) => row.dataset.key).map(place);
    if (keys.length === rows.size && keys.every((key) => rows.has(key))) fresh.append(...keys.map((key) => rows.get(key)));
  }
}

/** Keep the charts, which load their own numbers. */
function keepCharts(part, other) {
  for (const chart of part.querySelectorAll("rate-chart")) {
    const fresh = other.querySelector(`rate-chart[data-src="${CSS.escape(chart.dataset.src)}"]`);
    if (fresh) fresh.replaceWith(chart);
  }
}

/** Remember the focused element; the returned function focuses it again, or the same link of the new page. */
function keepFocus(page) {
  const element = document.activeElement;
  if (!element || !page.contains(element)) return () => {};
  const again = () =>
    element.isConnected ? element : [...page.querySelectorAll("a[href]")].find((link) => link.href === element.href);
  return () => again()?.focus({ preventScroll: true });
}

customElements.define("live-page", LivePage);
