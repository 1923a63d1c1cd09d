/* <heat-map>: all tails by all items of a campaign, and a description of the active cell.

   Data comes from the JSON at data-src (see fleet/pages/campaign/heatmap.py). The changes that <live-page> receives update
   it; a change of an unknown tail or item fetches the JSON again. Rows keep their order until the user sorts them. A link
   to the transfer is placed over the active cell. */

import { age, instant, percent as written } from "../format.js";
import { Paint, visible } from "./heat-map-canvas.js";

const SETTLED = new Set(["pending", "complete"]);
const TROUBLE = { failed: 100, contradiction: 40, silent: 30, stalled: 30, waiting: 5, restarted: 5 };
const HEIGHTS = [2, 4, 8, 14, 20, 28]; // cell heights in CSS pixels
const LEGIBLE = 14;
const WIDEST = 56;
const TALLEST = 616; // height of the box in CSS pixels
const CHANGED_FOR = 1000; // milliseconds
const RETRY_AFTER = 10000;
const REFRESH_EVERY = 300000;

const grouped = new Intl.NumberFormat("en-GB");

class HeatMap extends HTMLElement {
  connectedCallback() {
    this.changed = new Map();
    this.requested = new Set();
    this.queued = null;
    this.level = null;
    this.at = this.dataset.at || null;
    this.build();
    this.paint = new Paint(this.canvas, (state) => this.probes.get(state));
    this.page = this.closest("live-page");
    this.aborter = new AbortController();
    const { signal } = this.aborter;
    this.listen(signal);
    if (!this.at) this.page?.addEventListener("live:changes", (event) => this.applyChanges(event.detail.changes), { signal });
    this.fetch();
  }

  disconnectedCallback() {
    this.aborter.abort();
    this.observers.forEach((observer) => observer.disconnect());
    clearTimeout(this.timer);
    clearInterval(this.clock);
  }

  // Elements --------------------------------------------------------------------------------------------------------

  build() {
    const params = new URLSearchParams(location.search);
    this.rowsBy = choice("Sort tails by", { trouble: "severity", tail: "registration", percent: "progress" }, params.get("rows"));
    this.columnsBy = choice("Sort items by", { manifest: "manifest order", trouble: "severity" }, params.get("columns"));
    this.smaller = make("button", { type: "button", className: "button", textContent: "−", ariaLabel: "Smaller cells" });
    this.larger = make("button", { type: "button", className: "button", textContent: "+", ariaLabel: "Larger cells" });
    this.readout = make("p", { className: "heat-says", textContent: "Loading…" });
    this.announcer = make("p", { className: "sr", role: "status" });
    this.canvas = make("canvas", { ariaHidden: "true" });
    this.link = make("a", { className: "heat-link", tabIndex: -1, ariaHidden: "true", hidden: true });
    this.sizer = make("div", { className: "heat-sizer" }, this.canvas, this.link);
    this.box = make("div", { className: "heat-box", tabIndex: 0, role: "application" }, this.sizer);
    this.box.setAttribute("aria-roledescription", "heat map");
    this.legend = make("ul", { className: "legend" });
    const tools = make("div", { className: "heat-tools" }, this.rowsBy, this.columnsBy);
    tools.append(make("span", { className: "heat-zoom" }, this.smaller, this.larger));
    this.left = make("p", { className: "muted small" });
    this.replaceChildren(tools, this.legend, this.readout, this.announcer, this.box, this.left);
  }

  listen(signal) {
    const on = (target, kind, act) => target.addEventListener(kind, act, { signal });
    for (const [select, name] of [[this.rowsBy, "rows"], [this.columnsBy, "columns"]]) {
      on(select.querySelector("select"), "change", (event) => this.reorder(name, event.target.value));
    }
    on(this.smaller, "click", () => this.zoom(-1));
    on(this.larger, "click", () => this.zoom(1));
    on(this.box, "scroll", () => this.redraw());
    on(this.box, "keydown", (event) => this.key(event));
    on(this.box, "focus", () => this.point(this.chosen ?? { row: 0, column: 0 }, { announce: true }));
    on(this.box, "blur", () => this.point(null));
    on(this.box, "pointermove", (event) => event.pointerType !== "touch" && this.hover(event));
    on(this.box, "pointerleave", () => this.point(document.activeElement === this.box ? this.chosen : null));
    on(this.box, "click", (event) => this.clicked(event));
    const repaint = () => {
      this.paint.reset();
      this.redraw();
    };
    for (const query of ["(prefers-color-scheme: dark)", "(forced-colors: active)"]) on(matchMedia(query), "change", repaint);
    const theme = new MutationObserver(repaint);
    theme.observe(document.documentElement, { attributeFilter: ["data-theme"] });
    const size = new ResizeObserver(() => this.layout());
    size.observe(this);
    this.observers = [theme, size];
    this.clock = setInterval(() => this.describe(), 1000);
  }

  // Data ------------------------------------------------------------------------------------------------------

  async fetch() {
    clearTimeout(this.timer);
    this.queued = [];
    let wait = REFRESH_EVERY + Math.random() * RETRY_AFTER;
    try {
      const headers = this.etag ? { "If-None-Match": this.etag } : {};
      const response = await fetch(this.dataset.src, { credentials: "same-origin", redirect: "manual", headers });
      if (response.status !== 304) {
        if (!response.ok) throw new Error(`status ${response.status}`);
        this.setData(await response.json());
        this.etag = response.headers.get("ETag");
      }
    } catch {
      wait = RETRY_AFTER;
      if (!this.tails) this.readout.textContent = "The heat map could not be loaded. Retrying.";
    }
    const missed = this.queued;
    this.queued = null;
    if (this.tails) this.applyChanges(missed);
    if (!this.at && this.isConnected) this.timer = setTimeout(() => this.fetch(), wait);
  }

  setData({ items, tails, states, cells, moving, codes, at, out, cut }) {
    if (!this.probes) this.addLegend(Object.values(states));
    this.items = items.map(([name, title, size, listed]) => ({ name, title, size, listed }));
    this.tails = tails.map(([name, state, percent, asOf]) => ({ name, state, percent, asOf }));
    this.cells = cells.map((line) => [...line].map((letter) => states[letter] ?? ""));
    this.details = new Map();
    moving.forEach((line, row) => {
      for (const [column, percent, code, asOf] of line) {
        this.details.set(this.place(row, column), { percent, code: code === null ? "" : codes[code], asOf });
      }
    });
    this.rowOf = new Map(this.tails.map(({ name }, row) => [name, row]));
    this.columnOf = new Map(this.items.map(({ name }, column) => [name, column]));
    this.at = at;
    this.order();
    const what = `${this.tails.length} tails by ${this.items.length} items`;
    this.box.setAttribute("aria-label", `${what}. Use the arrow keys to move, and Enter to open the transfer.`);
    this.left.textContent = notShown(out, cut);
    this.toggleAttribute("data-ready", true);
    this.layout();
  }

  addLegend(states) {
    this.probes = new Map(states.map((state) => [state, stateWord(state)]));
    this.counts = new Map(states.map((state) => [state, make("b")]));
    this.legend.append(...[...this.probes].map(([state, word]) => make("li", {}, word, " ", this.counts.get(state))));
  }

  place(row, column) {
    return row * this.items.length + column;
  }

  applyChanges(changes) {
    if (this.queued) return this.queued.push(...changes);
    let missing = false;
    for (const { topic, op, state } of changes) {
      if (topic === "load" && op === "put") missing = this.applyLoad(state) || missing;
      else if (topic === "transfer" && op === "put") missing = this.applyTransfer(state) || missing;
      else if (op === "delete" && (topic === "load" || topic === "transfer")) missing = true;
    }
    this.redraw();
    if (missing) {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.fetch(), 1000 + Math.random() * 1000);
    }
  }

  /** Return true the first time that a change names this unknown tail or item. */
  unknown(name) {
    if (this.requested.has(name)) return false;
    this.requested.add(name);
    return true;
  }

  applyLoad(state) {
    const tail = this.tails[this.rowOf.get(state.tail)];
    if (!tail) return this.unknown(`tail ${state.tail}`);
    Object.assign(tail, { state: wordOf(state), percent: state.percent, asOf: seconds(state.as_of) });
    return false;
  }

  applyTransfer(state) {
    const row = this.rowOf.get(state.tail);
    const column = this.columnOf.get(state.content);
    if (row === undefined || column === undefined) return this.unknown(`${state.tail}/${state.content}`);
    const word = wordOf(state);
    const place = this.place(row, column);
    if (this.cells[row][column] !== word) this.mark(place);
    this.cells[row][column] = word;
    const { percent, error_code: code, as_of: asOf } = state;
    if (SETTLED.has(word)) this.details.delete(place);
    else this.details.set(place, { percent, code, asOf: seconds(asOf) });
    this.tails[row].state ||= "loading";
    return false;
  }

  mark(place) {
    this.changed.set(place, performance.now());
    setTimeout(() => {
      if (performance.now() - this.changed.get(place) >= CHANGED_FOR - 50) this.changed.delete(place);
      this.redraw();
    }, CHANGED_FOR);
  }

  // Order --------------------------------------------------------------------------------------------------------

  order() {
    const score = (words) => words.reduce((sum, word) => sum + (TROUBLE[word] ?? 0), 0);
    const names = new Intl.Collator("en", { numeric: true });
    const byName = (a, b) => names.compare(this.tails[a].name, this.tails[b].name);
    const percentOf = (row) => this.tails[row].percent ?? (this.tails[row].state ? 0 : -1);
    const started = (row) => Number(Boolean(this.tails[row].state));
    const orders = {
      tail: byName,
      percent: (a, b) => percentOf(a) - percentOf(b) || byName(a, b),
      trouble: (a, b) => scores[b] - scores[a] || started(b) - started(a) || percentOf(a) - percentOf(b) || byName(a, b),
    };
    const scores = this.cells.map(score);
    this.rows = this.tails.map((_, row) => row).sort(orders[this.rowsBy.querySelector("select").value]);
    this.columns = this.items.map((_, column) => column);
    if (this.columnsBy.querySelector("select").value === "trouble") {
      const troubled = this.columns.map((column) => score(this.cells.map((line) => line[column])));
      this.columns.sort((a, b) => troubled[b] - troubled[a] || a - b);
    }
  }

  reorder(name, value) {
    const address = new URL(location.href);
    address.searchParams.set(name, value);
    history.replaceState(history.state, "", address);
    this.chosen = null;
    this.order();
    this.box.scrollTo(0, 0);
    this.redraw();
  }

  // Size ---------------------------------------------------------------------------------------------------------

  zoom(step) {
    this.level = Math.min(Math.max(this.level + step, 0), HEIGHTS.length - 1);
    this.layout();
  }

  /** Compute all sizes and redraw. */
  layout() {
    if (!this.tails) return;
    const dpr = devicePixelRatio || 1;
    const sharp = (length) => Math.max(Math.round(length * dpr), 1) / dpr;
    const rows = this.tails.length;
    this.level ??= Math.max(HEIGHTS.findLastIndex((height) => height * rows <= TALLEST - 120), HEIGHTS.indexOf(LEGIBLE));
    const room = this.clientWidth - 2;
    const roomy = room > 560;
    const noteWidth = roomy ? 40 : 0;
    const headWidth = Math.ceil(Math.min(this.paint.measure(this.tails.map(({ name }) => name)) + 24 + noteWidth, room * (roomy ? 0.24 : 0.36)));
    const headHeight = Math.ceil(Math.min(this.paint.measure(this.items.map(({ name }) => name)) + 18, 132));
    const h = sharp(HEIGHTS[this.level]);
    const fits = Math.floor((room - headWidth - 16) / this.items.length);
    const w = sharp(Math.max(Math.min(fits, Math.max(h * 2, WIDEST)), h, 2));
    this.size = { dpr, w, h, headWidth, headHeight, noteWidth, rows, columns: this.items.length };
    this.sizer.style.width = `${headWidth + w * this.items.length}px`;
    this.sizer.style.height = `${headHeight + h * rows}px`;
    this.smaller.disabled = this.level === 0;
    this.larger.disabled = this.level === HEIGHTS.length - 1;
    this.redraw();
  }

  view() {
    const { clientWidth: width, clientHeight: height, scrollLeft, scrollTop } = this.box;
    const now = performance.now();
    return {
      ...this.size, width, height, scrollLeft, scrollTop, active: this.active,
      cell: (row, column) => this.drawn(this.rows[row], this.columns[column], now),
      labels: {
        row: (row) => {
          const { name, state, percent } = this.tails[this.rows[row]];
          return { name, note: state ? written(percent).replace("unknown", "") : "", quiet: !state };
        },
        column: (column) => ({ name: this.items[this.columns[column]].name, quiet: !this.items[this.columns[column]].listed }),
      },
    };
  }

  drawn(row, column, now) {
    const place = this.place(row, column);
    return {
      state: this.cells[row][column],
      percent: this.details.get(place)?.percent ?? null,
      changed: now - (this.changed.get(place) ?? -Infinity) < CHANGED_FOR,
    };
  }

  redraw() {
    if (this.frame || !this.size) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      if (!this.isConnected) return;
      this.paint.draw(this.view());
      this.describe();
      this.count();
    });
  }

  count() {
    const sums = new Map();
    for (const line of this.cells) for (const state of line) sums.set(state, (sums.get(state) ?? 0) + 1);
    for (const [state, count] of this.counts) {
      count.textContent = grouped.format(sums.get(state) ?? 0);
      count.parentElement.classList.toggle("none", !sums.get(state));
    }
  }

  // Active cell -----------------------------------------------------------------------------------------------

  /** Set the active cell. Rows and columns count from 0 in drawing order; -1 is the heading. */
  point(at, { announce = false } = {}) {
    if (!this.size) return;
    this.active = at;
    if (announce && at) {
      this.chosen = at;
      this.show(at);
      this.announcer.textContent = this.sentence(at);
    }
    const { w, h, headWidth, headHeight } = this.size;
    const cell = at && at.row >= 0 && at.column >= 0;
    this.link.hidden = !cell;
    if (cell) {
      this.link.href = this.address(at);
      this.link.style.transform = `translate(${headWidth + at.column * w}px, ${headHeight + at.row * h}px)`;
      this.link.style.width = `${w}px`;
      this.link.style.height = `${h}px`;
    }
    this.redraw();
  }

  show({ row, column }) {
    const { w, h, headWidth, headHeight } = this.size;
    const { clientWidth, clientHeight, scrollLeft, scrollTop } = this.box;
    const within = (place, size, from, room) => Math.max(Math.min(from, place * size), (place + 1) * size - room);
    this.box.scrollTo(
      column < 0 ? scrollLeft : within(column, w, scrollLeft, clientWidth - headWidth),
      row < 0 ? scrollTop : within(row, h, scrollTop, clientHeight - headHeight),
    );
  }

  under(event) {
    const { left, top } = this.canvas.getBoundingClientRect();
    const { w, h, headWidth, headHeight, rows, columns } = this.size;
    const [x, y] = [event.clientX - left - headWidth, event.clientY - top - headHeight];
    const column = x < 0 ? -1 : Math.floor((x + this.box.scrollLeft) / w);
    const row = y < 0 ? -1 : Math.floor((y + this.box.scrollTop) / h);
    return row < rows && column < columns && (row >= 0 || column >= 0) ? { row, column } : null;
  }

  hover(event) {
    if (this.size) this.point(this.under(event));
  }

  clicked(event) {
    if (!this.size || event.target === this.link) return;
    const at = this.under(event);
    const again = at && at.row === this.chosen?.row && at.column === this.chosen?.column;
    const touched = event.pointerType === "touch";
    if (at) this.point(at, { announce: true });
    if (at && at.row >= 0 && (!touched || again)) location.assign(this.address(at));
  }

  key(event) {
    if (!this.size || event.altKey || event.metaKey) return;
    const { rows, columns } = this.size;
    const at = this.active ?? this.chosen ?? { row: 0, column: 0 };
    const { top, bottom } = visible(this.view());
    const page = Math.max(bottom - top - 1, 1);
    const to = {
      ArrowUp: { ...at, row: at.row - 1 },
      ArrowDown: { ...at, row: at.row + 1 },
      ArrowLeft: { ...at, column: at.column - 1 },
      ArrowRight: { ...at, column: at.column + 1 },
      PageUp: { ...at, row: Math.max(at.row - page, 0) },
      PageDown: { ...at, row: at.row + page },
      Home: event.ctrlKey ? { row: 0, column: 0 } : { ...at, column: 0 },
      End: event.ctrlKey ? { row: rows - 1, column: columns - 1 } : { ...at, column: columns - 1 },
    }[event.key];
    if (to) {
      const lowest = { row: to.column < 0 ? 0 : -1, column: to.row < 0 ? 0 : -1 };
      const row = Math.min(Math.max(to.row, lowest.row), rows - 1);
      const column = Math.min(Math.max(to.column, lowest.column), columns - 1);
      this.point({ row, column }, { announce: true });
    } else if (event.key === "+" || event.key === "-") this.zoom(event.key === "+" ? 1 : -1);
    else if (event.key === "Enter" && at.row >= 0) location.assign(this.address(at));
    else return;
    event.preventDefault();
  }

  address({ row, column }) {
    const campaign = `campaign=${encodeURIComponent(this.dataset.campaign)}`;
    const tail = `${this.dataset.tails}${encodeURIComponent(this.tails[this.rows[row]].name)}/`;
    if (column < 0) return `${tail}?${campaign}`;
    return `${tail}?${campaign}&item=${encodeURIComponent(this.items[this.columns[column]].name)}#item`;
  }

  // Descriptions -----------------------------------------------------------------------------------------------------

  describe() {
    if (!this.tails) return;
    const text = this.active ? this.sentence(this.active) : "Point at a cell or use the arrow keys to read it. Click it or press Enter to open the transfer.";
    this.toggleAttribute("data-reading", Boolean(this.active));
    if (this.readout.textContent !== text) this.readout.textContent = text;
  }

  sentence({ row, column }) {
    if (row < 0) return this.ofItem(this.columns[column]);
    if (column < 0) return this.ofTail(this.rows[row]);
    return this.ofCell(this.rows[row], this.columns[column]);
  }

  ofCell(row, column) {
    const tail = this.tails[row];
    const about = `${tail.name}, ${this.items[column].name}: `;
    if (!tail.state) return `${about}not started`;
    const state = this.cells[row][column];
    if (!state) return `${about}${this.at ? "unknown" : "not reported"}`;
    const known = this.details.get(this.place(row, column));
    const parts = [state];
    if (known?.code) parts.push(known.code);
    if (state !== "pending") parts.push(written(state === "complete" ? 100 : known?.percent));
    return about + [...parts, this.asOf(known?.asOf ?? tail.asOf)].join(", ");
  }

  ofTail(row) {
    const { name, state, percent, asOf } = this.tails[row];
    if (!state) return `${name}: in service, not started`;
    const sums = tally(this.cells[row]);
    const items = `complete ${sums.complete} of ${this.items.length} items, failed ${sums.failed}`;
    return `${name}: ${state}, ${written(percent)}, ${items}, ${this.asOf(asOf)}`;
  }

  ofItem(column) {
    const { name, title, listed } = this.items[column];
    const sums = tally(this.cells.map((line) => line[column]));
    const notes = [title && title !== name ? ` (${title})` : "", listed ? "" : ", not in the manifest"];
    return `${name}${notes.join("")}: complete on ${sums.complete} of ${this.tails.length} tails, failing on ${sums.failed}`;
  }

  asOf(moment) {
    if (!moment) return "as of: never";
    if (this.at) return `as of ${instant(moment * 1000)}`;
    return `as of ${age(moment * 1000, this.page ? this.page.now() : Date.now())}`;
  }
}

function tally(states) {
  const count = (wanted) => states.filter((state) => state === wanted).length;
  return { complete: count("complete"), failed: count("failed") };
}

/** Describe what is not shown; empty if everything is. */
function notShown(out, cut) {
  const parts = [[out, "stored or retired tail"], [cut.tails, "more tail"], [cut.items, "more item"]];
  const counted = parts.filter(([count]) => count).map(([count, what]) => `${grouped.format(count)} ${what}${count === 1 ? "" : "s"}`);
  return counted.length ? `Not shown: ${counted.join(", ")}.` : "";
}

const seconds = (moment) => (moment ? Math.floor(Date.parse(moment) / 1000) : null);
const wordOf = (state) => state.state ?? (state.stalled && state.status === "loading" ? "stalled" : state.status);

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function stateWord(state) {
  const word = make("span", { className: "state", textContent: state });
  word.dataset.state = state;
  return word;
}

function choice(label, options, chosen) {
  const select = make("select");
  for (const [value, text] of Object.entries(options)) select.append(make("option", { value, textContent: text }));
  if (chosen in options) select.value = chosen;
  return make("label", {}, `${label} `, select);
}

customElements.define("heat-map", HeatMap);
