/* <rate-chart>: numbers over time, drawn by uPlot when the chart becomes visible and refreshed every minute.

     data-src       URL of the numbers (JSON)
     data-library   URL of uPlot, loaded when the first chart becomes visible
     data-title     name of the chart for screen readers

   The content without scripts (a summary, links to the numbers) stays and is updated. */

import { instant } from "../format.js";
import { options, describePoint } from "./rate-chart-options.js";

const REFRESH_EVERY = 60_000;
const PAGE = 12;
const loaded = new Map();

function library(address) {
  if (!loaded.has(address)) {
    const script = document.createElement("script");
    const ready = new Promise((resolve, reject) => {
      script.onload = resolve;
      script.onerror = () => {
        loaded.delete(address);
        reject(new Error("no library"));
      };
    });
    script.src = address;
    document.head.append(script);
    loaded.set(address, ready);
  }
  return loaded.get(address);
}

function make(tag, className, attributes = {}) {
  const element = document.createElement(tag);
  element.className = className;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

class RateChart extends HTMLElement {
  connectedCallback() {
    if (!this.plot) this.build();
    if (this.numbers) this.show(this.numbers); // the element was moved within the page
    this.sight = new IntersectionObserver(([entry]) => this.setVisible(entry.isIntersecting));
    this.sight.observe(this);
    this.size = new ResizeObserver(() => this.resize());
    this.size.observe(this.plot);
    this.theme = new MutationObserver(() => this.chart?.redraw(false));
    this.theme.observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
    this.dark = matchMedia("(prefers-color-scheme: dark)");
    this.repaint = () => this.chart?.redraw(false);
    this.dark.addEventListener("change", this.repaint);
    this.awake = () => this.setVisible(this.visible);
    document.addEventListener("visibilitychange", this.awake);
  }

  disconnectedCallback() {
    for (const observer of [this.sight, this.size, this.theme]) observer.disconnect();
    this.dark.removeEventListener("change", this.repaint);
    document.removeEventListener("visibilitychange", this.awake);
    clearTimeout(this.timer);
    this.chart?.destroy();
    this.chart = null;
    this.visible = false;
  }

  build() {
    this.plot = make("div", "chart-plot", {
      role: "application",
      tabindex: "0",
      "aria-label": `${this.dataset.title}: chart. Use the arrow keys to read values.`,
    });
    this.note = make("p", "chart-note");
    this.note.textContent = "Loading…";
    this.tip = make("div", "chart-tip", { "aria-hidden": "true" });
    this.tip.hidden = true;
    this.announcer = make("p", "sr", { "aria-live": "polite" });
    this.plot.append(this.note, this.tip);
    this.prepend(this.plot, this.announcer);
    this.plot.addEventListener("keydown", (event) => this.key(event));
    this.plot.addEventListener("blur", () => this.point(null));
  }

  setVisible(visible) {
    this.visible = visible;
    clearTimeout(this.timer);
    const due = this.readAt === undefined ? 0 : this.readAt + REFRESH_EVERY - performance.now();
    if (visible && !document.hidden) this.timer = setTimeout(() => this.read(), Math.max(due, 0));
  }

  async read() {
    if (this.reading) return;
    this.reading = true;
    this.readAt = performance.now();
    try {
      const [, response] = await Promise.all([
        library(this.dataset.library),
        fetch(this.dataset.src, { headers: { Accept: "application/json" } }),
      ]);
      if (!response.ok) throw new Error(response.status);
      this.show(await response.json());
    } catch {
      this.dataset.state = "error";
      this.showNote(this.chart ? "The chart could not be updated. Retrying every minute." : "The chart could not be loaded. Retrying every minute.");
    }
    this.reading = false;
    if (this.isConnected) this.setVisible(this.visible);
  }

  show(numbers) {
    this.numbers = numbers;
    const empty = !numbers.series.some((one) => one.values.some((value) => value !== null));
    this.dataset.state = empty ? "empty" : "drawn";
    this.showNote(empty ? "No data for this period." : "");
    for (const part of this.querySelectorAll("[data-chart-summary]")) part.textContent = numbers.summary;
    for (const part of this.querySelectorAll("[data-chart-as-of]")) {
      part.textContent = numbers.as_of ? `As of ${instant(Date.parse(numbers.as_of))}.` : "";
    }
    this.chart?.destroy();
    this.chart = null;
    if (empty || !this.isConnected) return;
    const data = [numbers.at, ...numbers.series.map((one) => one.values)];
    const at = this.index;
    this.chart = new window.uPlot(options(window.uPlot, this, numbers), data, this.plot);
    if (at !== undefined && at !== null) this.point(Math.min(at, numbers.at.length - 1));
  }

  showNote(text) {
    this.note.textContent = text;
    this.note.hidden = !text;
  }

  resize() {
    const { clientWidth: width, clientHeight: height } = this.plot;
    if (this.chart && width && (width !== this.chart.width || height !== this.chart.height)) this.chart.setSize({ width, height });
  }

  key(event) {
    if (!this.chart || event.ctrlKey || event.altKey || event.metaKey) return;
    const last = this.numbers.at.length - 1;
    const at = this.index ?? last + 1;
    const steps = { ArrowLeft: at - 1, ArrowRight: at + 1, PageUp: at - PAGE, PageDown: at + PAGE, Home: 0, End: last };
    if (event.key === "Escape") this.point(null);
    else if (event.key in steps) {
      this.point(Math.max(0, Math.min(last, steps[event.key])));
      this.announcer.textContent = describePoint(this.numbers, this.index).join(", ");
    } else return;
    event.preventDefault();
  }

  /** Move the cursor to a point, or hide it if null. */
  point(index) {
    if (!this.chart) return;
    if (index === null) {
      this.announcer.textContent = "";
      this.chart.setCursor({ left: -10, top: -10 });
      return;
    }
    this.chart.setCursor({ left: this.chart.valToPos(this.numbers.at[index], "x"), top: 1 });
  }

  /** Called by uPlot when the cursor moves, by pointer or key. */
  cursorMoved(chart) {
    const { idx, left } = chart.cursor;
    this.index = left < 0 ? null : idx;
    this.tip.hidden = this.index === null || this.index === undefined;
    if (this.tip.hidden) return;
    this.tip.replaceChildren(
      ...describePoint(this.numbers, idx).map((text, line) => {
        const part = make(line ? "div" : "strong", "");
        part.textContent = text;
        return part;
      }),
    );
    const start = chart.over.offsetLeft + left;
    const right = start + this.tip.offsetWidth + 12 > this.plot.clientWidth;
    this.tip.style.insetInlineStart = `${Math.max(0, right ? start - this.tip.offsetWidth - 12 : start + 12)}px`;
  }
}

customElements.define("rate-chart", RateChart);
