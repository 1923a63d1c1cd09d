/* Draws the heat map: one row per tail, one column per item, one tile per cell. Has no access to the data source.

   A tile has the colour and shape of its state. Both are read from a .state[data-state] on the page, so map and legend
   match in light, dark and forced colours. States differ without colour too (WCAG 1.4.1): problems are filled with the
   shape cut out, progress is a partial fill, the others are a light tint. Tiles are drawn once for each state, size and
   theme, and then copied. */

const SHAPE_FROM = 9; // CSS pixels of a cell's shorter side; below that shapes are not legible
const GAP_FROM = 5;
const LABEL_EVERY = 14;
const LOUD = new Set(["failed", "silent", "stalled", "contradiction"]);
const FILLING = new Set(["loading", "waiting", "restarted"]);
const FONT = 12;

export class Paint {
  /** `probe(state)` returns an element with the colour and shape of the state. */
  constructor(canvas, probe) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.probe = probe;
    this.reset();
  }

  /** Drop cached tiles and colours after a change of theme. */
  reset() {
    this.tiles = new Map();
    this.styles = new Map();
    this.colours = null;
  }

  styleOf(state) {
    if (!this.styles.has(state)) {
      const style = getComputedStyle(this.probe(state));
      this.styles.set(state, { tone: style.color, shape: style.getPropertyValue("--shape") });
    }
    return this.styles.get(state);
  }

  theme() {
    if (!this.colours) {
      const style = getComputedStyle(this.canvas);
      const heading = getComputedStyle(this.canvas.parentElement);
      this.colours = {
        surface: style.backgroundColor,
        text: style.color,
        raised: heading.backgroundColor,
        muted: heading.color,
        line: style.borderTopColor,
        accent: style.outlineColor,
        font: `${FONT}px ${style.fontFamily}`,
        plain: matchMedia("(forced-colors: active)").matches,
      };
    }
    return this.colours;
  }

  /** Width of the widest label, in CSS pixels. */
  measure(labels) {
    this.context.font = `600 ${this.theme().font}`; // bold, like the label of the active row
    return labels.reduce((widest, label) => Math.max(widest, this.context.measureText(label).width), 0);
  }

  /** Draw the visible part of the map; `HeatMap.view` returns `view`. */
  draw(view) {
    const { context } = this;
    const { width, height, dpr } = view;
    if (this.canvas.width !== Math.round(width * dpr) || this.canvas.height !== Math.round(height * dpr)) {
      this.canvas.width = Math.round(width * dpr);
      this.canvas.height = Math.round(height * dpr);
      this.canvas.style.width = `${width}px`;
      this.canvas.style.height = `${height}px`;
    }
    context.setTransform(dpr, 0, 0, dpr, 0, 0);
    context.fillStyle = this.theme().surface;
    context.fillRect(0, 0, width, height);
    const span = visible(view);
    this.cells(view, span);
    this.headings(view, span);
  }

  cells(view, { top, bottom, left, right }) {
    const { context } = this;
    const { w, h, headWidth, headHeight, scrollLeft, scrollTop } = view;
    const gap = Math.min(w, h) >= GAP_FROM ? 1 : 0;
    for (let row = top; row < bottom; row += 1) {
      const y = headHeight + row * h - scrollTop;
      for (let column = left; column < right; column += 1) {
        const { state, percent, changed } = view.cell(row, column);
        const x = headWidth + column * w - scrollLeft;
        if (state) context.drawImage(this.tile(state, percent, w, h, gap, view.dpr), x, y, w, h);
        if (changed) this.frame(x, y, w - gap, h - gap, 2);
      }
    }
    const at = view.active;
    if (at && at.row >= 0 && at.column >= 0) {
      this.frame(headWidth + at.column * w - scrollLeft - 1, headHeight + at.row * h - scrollTop - 1, w + 1, h + 1, 2);
    }
  }

  frame(x, y, width, height, thick) {
    this.context.strokeStyle = this.theme().accent;
    this.context.lineWidth = thick;
    this.context.strokeRect(x + thick / 2, y + thick / 2, Math.max(width - thick, 1), Math.max(height - thick, 1));
  }

  tile(state, percent, w, h, gap, dpr) {
    const filled = FILLING.has(state) && percent !== null ? Math.round((percent * (w - gap) * dpr) / 100) : -1;
    const key = `${state} ${filled} ${w} ${h} ${dpr}`;
    if (!this.tiles.has(key)) this.tiles.set(key, this.drawTile(state, filled, w, h, gap, dpr));
    return this.tiles.get(key);
  }

  drawTile(state, filled, w, h, gap, dpr) {
    const tile = document.createElement("canvas");
    tile.width = Math.max(Math.round(w * dpr), 1);
    tile.height = Math.max(Math.round(h * dpr), 1);
    const context = tile.getContext("2d");
    const [wide, high] = [tile.width - gap * Math.round(dpr), tile.height - gap * Math.round(dpr)];
    const { tone, shape } = this.styleOf(state);
    const { surface, plain } = this.theme();
    const shaped = Math.min(w, h) >= SHAPE_FROM;
    const loud = LOUD.has(state);
    const fill = (colour, alpha, width = wide) => {
      context.globalAlpha = alpha;
      context.fillStyle = colour;
      context.fillRect(0, 0, width, high);
      context.globalAlpha = 1;
    };
    if (loud) fill(tone, 1);
    else if (FILLING.has(state)) {
      fill(tone, plain ? 0 : 0.2);
      fill(tone, plain ? 0.6 : 0.5, Math.max(filled, 0));
    } else if (state === "complete") fill(tone, plain ? 0.25 : 0.32);
    else fill(tone, shaped ? 0 : 0.08);
    if (shaped && (state !== "complete" || Math.min(w, h) >= 16 || plain)) {
      const size = Math.min(wide, high) * (state === "pending" ? 0.42 : 0.56);
      context.translate((wide - size) / 2, (high - size) / 2);
      context.fillStyle = loud ? surface : tone;
      context.globalAlpha = state === "complete" && !plain ? 0.7 : 1;
      context.fill(pathOf(shape, size));
    }
    return tile;
  }

  headings(view, { top, bottom, left, right }) {
    const { context } = this;
    const { w, h, width, height, headWidth, headHeight, scrollLeft, scrollTop, active } = view;
    const { raised, line, font } = this.theme();
    context.font = font;
    context.textBaseline = "middle";
    context.fillStyle = raised;
    context.fillRect(0, headHeight, headWidth, height - headHeight);
    this.within(0, headHeight, headWidth, height - headHeight, () => {
      const every = Math.ceil(LABEL_EVERY / h);
      for (let row = top; row < bottom; row += 1) {
        const chosen = active?.row === row;
        if (row % every && !chosen) continue;
        this.rowHeading(view, row, headHeight + row * h - scrollTop + h / 2, chosen);
      }
    });
    context.fillStyle = raised;
    context.fillRect(0, 0, width, headHeight);
    this.within(headWidth, 0, width - headWidth, headHeight, () => {
      const every = Math.ceil(LABEL_EVERY / w);
      for (let column = left; column < right; column += 1) {
        const chosen = active?.column === column;
        if (column % every && !chosen) continue;
        this.columnHeading(view, column, headWidth + column * w - scrollLeft + w / 2, chosen);
      }
    });
    context.fillStyle = line;
    context.fillRect(headWidth - 1, 0, 1, height);
    context.fillRect(0, headHeight - 1, width, 1);
  }

  within(x, y, width, height, draw) {
    this.context.save();
    this.context.beginPath();
    this.context.rect(x, y, width, height);
    this.context.clip();
    draw();
    this.context.restore();
  }

  rowHeading({ labels, headWidth, noteWidth }, row, y, chosen) {
    const { context } = this;
    const { text, muted, raised } = this.theme();
    const { name, note, quiet } = labels.row(row);
    if (chosen) {
      context.fillStyle = raised;
      context.fillRect(0, y - FONT * 0.6, headWidth - 1, FONT * 1.2);
    }
    context.textAlign = "start";
    context.fillStyle = quiet && !chosen ? muted : text;
    this.label(name, 8, y, headWidth - noteWidth - 14, chosen);
    if (!noteWidth) return;
    context.textAlign = "end";
    context.fillStyle = muted;
    context.fillText(note, headWidth - 8, y);
  }

  columnHeading({ labels, headHeight }, column, x, chosen) {
    const { context } = this;
    const { text, muted, raised } = this.theme();
    const { name, quiet } = labels.column(column);
    if (chosen) {
      context.fillStyle = raised;
      context.fillRect(x - FONT * 0.6, 0, FONT * 1.2, headHeight - 1);
    }
    context.save();
    context.translate(x, headHeight - 7);
    context.rotate(-Math.PI / 2);
    context.textAlign = "start";
    context.fillStyle = quiet && !chosen ? muted : text;
    this.label(name, 0, 0, headHeight - 14, chosen);
    context.restore();
  }

  label(name, x, y, room, chosen) {
    const { context } = this;
    const { font } = this.theme();
    context.font = chosen ? `600 ${font}` : font;
    let shown = name;
    while (shown.length > 1 && context.measureText(shown).width > room) shown = `${shown.slice(0, -2)}…`;
    context.fillText(shown, x, y);
    context.font = font;
  }
}

/** Visible rows and columns; `bottom` and `right` are exclusive. */
export function visible({ w, h, width, height, headWidth, headHeight, scrollLeft, scrollTop, rows, columns }) {
  return {
    top: Math.max(Math.floor(scrollTop / h), 0),
    bottom: Math.min(Math.ceil((scrollTop + height - headHeight) / h), rows),
    left: Math.max(Math.floor(scrollLeft / w), 0),
    right: Math.min(Math.ceil((scrollLeft + width - headWidth) / w), columns),
  };
}

/** Path of a CSS shape of a state: polygon(), circle() or inset(), in percent. */
function pathOf(shape, size) {
  const path = new Path2D();
  const numbers = [...shape.matchAll(/-?[\d.]+/g)].map(([number]) => (Number(number) * size) / 100);
  if (shape.startsWith("polygon")) {
    for (let place = 0; place + 1 < numbers.length; place += 2) path.lineTo(numbers[place], numbers[place + 1]);
  } else if (shape.startsWith("circle")) path.arc(size / 2, size / 2, numbers[0] ?? size / 2, 0, 2 * Math.PI);
  else {
    const [y = 0, x = y] = shape.startsWith("inset") ? numbers : [];
    path.rect(x, y, size - 2 * x, size - 2 * y);
  }
  return path;
}
