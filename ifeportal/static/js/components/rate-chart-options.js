/* Options of uPlot and descriptions of points: colours from the page's tokens, times in UTC, formatted sizes. */

import { rate, size } from "../format.js";

const DAY = 86_400;
const MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(" ");
const FORMATS = { "bytes/s": rate, tails: (value) => `${value}` };
const AXIS_FORMATS = { "bytes/s": (value) => (value ? `${size(Math.round(value)).replace(/\.0+(?= )/, "")}/s` : "0"), tails: (value) => `${value}` };
const two = (number) => String(number).padStart(2, "0");

const day = (date) => `${date.getUTCDate()} ${MONTHS[date.getUTCMonth()]}`;
const clock = (date) => `${two(date.getUTCHours())}:${two(date.getUTCMinutes())}`;

/** Describe a point: its time, then each series that has a value. */
export function describePoint(numbers, index) {
  const date = new Date(numbers.at[index] * 1000);
  const written = FORMATS[numbers.unit];
  const values = numbers.series
    .filter((one) => one.values[index] !== null)
    .map((one) => `${one.name} ${written(one.values[index])}`);
  return [`${day(date)} ${clock(date)} UTC`, ...(values.length ? values : ["unknown"])];
}

/** Return the options of uPlot. The computed style of `element`, the <rate-chart>, has the colours. */
export function options(uPlot, element, numbers) {
  const colour = (name) => () => getComputedStyle(element).getPropertyValue(`--chart-${name}`);
  const line = colour("line");
  const soft = colour("soft");
  const quiet = colour("quiet");
  const grid = colour("grid");
  const ink = () => ({ colour: quiet(), ground: colour("ground")(), font });
  const stepped = uPlot.paths.stepped({ align: 1 });
  const styles = {
    area: { stroke: line, fill: soft, width: 1.5 },
    step: { stroke: line, fill: soft, width: 2, paths: stepped },
    low: { stroke: line, width: 1, dash: [4, 3], paths: stepped },
    high: { stroke: line, width: 1, dash: [4, 3], paths: stepped },
  };
  const shapes = numbers.series.map((one) => one.shape);
  const font = `12px ${getComputedStyle(element).fontFamily}`;
  const axis = { stroke: quiet, font, grid: { stroke: grid, width: 1 }, ticks: { stroke: grid, width: 1, size: 4 } };
  const low = shapes.indexOf("low") + 1;
  const { limit, marks } = numbers;
  return {
    width: element.plot.clientWidth,
    height: element.plot.clientHeight,
    legend: { show: false },
    cursor: { drag: { x: false, y: false, setScale: false }, y: false, points: { size: 7, width: 1.5 } },
    scales: { x: { range: (_, from, to) => [from, to] }, y: { range: (_, from, to) => [0, Math.max(to, limit?.value ?? 0, 1) * 1.1] } },
    axes: [
      { ...axis, space: 64, size: 28, values: (_, splits) => moments(splits, numbers.at) },
      {
        ...axis,
        size: numbers.unit === "tails" ? 44 : 76,
        incrs: numbers.unit === "tails" ? [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000] : undefined,
        values: (_, splits) => splits.map(AXIS_FORMATS[numbers.unit]),
      },
    ],
    tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
    series: [{}, ...numbers.series.map((one) => ({ label: one.name, ...styles[one.shape], points: { show: false } }))],
    bands: low ? [{ series: [shapes.indexOf("high") + 1, low], fill: soft }] : [],
    hooks: {
      draw: [
        (chart) => {
          if (limit) drawLimit(chart, limit, ink());
          marks.forEach((mark, place) => drawMark(chart, mark, place, ink()));
        },
      ],
      setCursor: [(chart) => element.cursorMoved(chart)],
    },
  };
}

function moments(splits, at) {
  const short = at[at.length - 1] - at[0] <= 2 * DAY;
  return splits.map((seconds) => {
    const date = new Date(seconds * 1000);
    if (short) return seconds % DAY ? clock(date) : day(date);
    return seconds % DAY ? "" : day(date);
  });
}

/** Draw a dashed line. The caller writes its label and restores the context. */
function dashed({ ctx }, [fromX, fromY], [toX, toY], { colour, ground, font }) {
  const scale = devicePixelRatio;
  ctx.save();
  ctx.strokeStyle = ctx.fillStyle = colour;
  ctx.lineWidth = scale;
  ctx.setLineDash([3 * scale, 3 * scale]);
  ctx.beginPath();
  ctx.moveTo(fromX, fromY);
  ctx.lineTo(toX, toY);
  ctx.stroke();
  ctx.setLineDash([]);
  ctx.strokeStyle = ground;
  ctx.lineWidth = 4 * scale;
  ctx.lineJoin = "round";
  ctx.font = font.replace(/^\d+/, (pixels) => pixels * scale);
  return [ctx, scale];
}

/** Write text with an outline, legible on top of a curve. */
function write(ctx, text, x, y) {
  ctx.strokeText(text, x, y);
  ctx.fillText(text, x, y);
}

function drawLimit(chart, { name, value }, ink) {
  const { left, width } = chart.bbox;
  const y = chart.valToPos(value, "y", true);
  const [ctx, scale] = dashed(chart, [left, y], [left + width, y], ink);
  ctx.textBaseline = "top";
  ctx.textAlign = "left";
  write(ctx, `${value} ${name}`, left + 4 * scale, y + 4 * scale);
  ctx.restore();
}

/** Draw a marked time. Its label is on the side with space, one line per mark. */
function drawMark(chart, { name, at }, place, ink) {
  const { left, top, width, height } = chart.bbox;
  const x = chart.valToPos(at, "x", true);
  if (x < left - 1 || x > left + width + 1) return;
  const [ctx, scale] = dashed(chart, [x, top], [x, top + height], ink);
  const fits = x + ctx.measureText(name).width + 12 * scale < left + width;
  ctx.textBaseline = "bottom";
  ctx.textAlign = fits ? "left" : "right";
  write(ctx, name, x + (fits ? 5 : -5) * scale, top + height - place * 16 * scale - 4 * scale);
  ctx.restore();
}
