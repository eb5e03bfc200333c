// Loss against step, on a logarithmic axis where the least value is known.

const DASHES = [[], [7, 3], [2, 2.5], [8, 3, 2, 3]];

// The least and the greatest of a loss; a dip of less than three steps, as where a path crosses a minimum, counts not.
function rangeOf({loss, finite}, base, log) {
  let low = Infinity, high = -Infinity;
  const above = (k) => loss[Math.max(0, Math.min(finite - 1, k))] - base;
  for (let k = 0; k < finite; k++) {
    const v = Math.max(above(k - 2), above(k - 1), above(k), above(k + 1), above(k + 2));
    if (!Number.isFinite(v) || (log && v <= 0)) continue;
    low = Math.min(low, log ? v : above(k));
    high = Math.max(high, v);
  }
  const last = above(finite - 1);
  return [log && last > 0 ? Math.min(low, Math.max(last, low / 100)) : low, high];
}

// What is drawn: the loss above the minimum, or the loss itself; and the range of the axis.
function lossScale(landscape, walks) {
  const log = landscape.minimum !== null, base = log ? landscape.minimum : 0;
  const ranges = walks.map((walk) => rangeOf(walk, base, log));
  const first = walks.map((walk) => walk.loss[0] - base).filter(Number.isFinite);
  let low = Math.min(...ranges.map((range) => range[0])), high = Math.max(...ranges.map((range) => range[1]));
  if (!(low <= high)) [low, high] = log ? [1e-3, 1] : [-1, 1];
  if (log) {
    high = Math.min(high, 1e3 * Math.max(...first, low));
    low = Math.max(low, 1e-16 * high, 1e-24);
    return {log, base, low: Math.log10(low) - 0.2, high: Math.log10(high) + 0.3};
  }
  const span = Math.max(...first.map(Math.abs), 1); // a path that falls for ever shows how it begins
  high = Math.min(high, 20 * span);
  low = Math.max(low, -20 * span);
  const room = 0.06 * (high - low) || 1;
  return {log, base, low: low - room, high: high + room};
}

const EXPONENT = {"-": "\u207b", 0: "\u2070", 1: "\u00b9", 2: "\u00b2", 3: "\u00b3", 4: "\u2074", 5: "\u2075", 6: "\u2076",
  7: "\u2077", 8: "\u2078", 9: "\u2079"};
const powerOfTen = (k) => k === 0 ? "1" : k === 1 ? "10" : `10${[...String(k)].map((c) => EXPONENT[c]).join("")}`;

function lossFrame(width, height, steps, scale) {
  const left = 44, right = 12, top = 26, bottom = 26, w = width - left - right, h = height - top - bottom;
  return {
    left, top, w, h, bottom: top + h,
    across: (k) => left + w * k / Math.max(1, steps),
    up: (v) => {
      const value = scale.log ? (v > 0 ? Math.log10(v) : scale.low) : v;
      return top + h * (1 - Math.max(-0.02, Math.min(1.02, (value - scale.low) / (scale.high - scale.low))));
    },
    stepAt: (px) => Math.round(Math.max(0, Math.min(1, (px - left) / w)) * steps),
  };
}

// Values to mark, with their labels: powers of ten, between them as well where they are few.
function lossTicks(frame, {log, low, high}) {
  if (!log) return ticks(low, high, frame.h / 48).map((value) => [value, short(value)]);
  if (high - low > 2.2) return ticks(low, high, Math.min(frame.h / 42, high - low)).filter(Number.isInteger).map((k) => [10 ** k, powerOfTen(k)]);
  const found = [];
  for (let k = Math.floor(low); k <= high; k++) for (const m of [1, 2, 5]) found.push(Number(`${m}e${k}`));
  return found.filter((value) => Math.log10(value) > low && Math.log10(value) < high).map((value) => [value, short(value)]);
}

// `from` and `per` say what stands at the first step, and how far it is to the next.
function lossAxes(context, frame, steps, scale, {from = 0, per = 1, title}, colours) {
  Object.assign(context, {font: colours.font, fillStyle: colours.muted, strokeStyle: colours.line, lineWidth: 1});
  Object.assign(context, {textAlign: "right", textBaseline: "middle"});
  for (const [value, label] of lossTicks(frame, scale)) {
    const y = frame.up(value);
    context.fillText(label, frame.left - 8, y);
    context.beginPath();
    context.moveTo(frame.left, y);
    context.lineTo(frame.left + frame.w, y);
    context.stroke();
  }
  Object.assign(context, {textAlign: "center", textBaseline: "top"});
  for (const value of ticks(from, from + per * steps, frame.w / 70)) context.fillText(short(value), frame.across((value - from) / per), frame.bottom + 7);
  Object.assign(context, {textAlign: "left", textBaseline: "alphabetic"});
  context.fillText(title ?? (scale.log ? "loss above its minimum, by step" : "loss, by step"), 4, 14);
}

// Returns the frame, so that a pointer can be read as a step.
function drawLoss(context, width, height, landscape, walks, {steps, step, axis = {}}, colours) {
  const scale = lossScale(landscape, walks), frame = lossFrame(width, height, steps, scale);
  lossAxes(context, frame, steps, scale, axis, colours);
  context.beginPath();
  Object.assign(context, {strokeStyle: colours.muted, lineWidth: 1});
  context.moveTo(frame.across(step), frame.top);
  context.lineTo(frame.across(step), frame.bottom);
  context.stroke();
  walks.forEach((walk, k) => drawCurve(context, frame, walk, k, step, scale.base, colours));
  return frame;
}

// The line ends at the frame; the sign of a loss on its edge stands whole.
function drawCurve(context, frame, {loss, finite}, k, step, base, colours) {
  if (!finite) return;
  context.save();
  context.beginPath();
  context.rect(frame.left, frame.top, frame.w, frame.h);
  context.clip();
  context.beginPath();
  for (let n = 0; n < finite; n++) context[n ? "lineTo" : "moveTo"](frame.across(n), frame.up(loss[n] - base));
  Object.assign(context, {strokeStyle: colours.series[k], lineWidth: 1.9, lineJoin: "round"});
  context.setLineDash(DASHES[k]);
  context.stroke();
  context.restore();
  const now = Math.min(step, finite - 1);
  sign(context, SHAPES[k], frame.across(now), frame.up(loss[now] - base), 5);
  context.fillStyle = colours.series[k];
  Object.assign(context, {strokeStyle: colours.halo, lineWidth: 3});
  context.stroke();
  context.fill();
}

// The sign of a series, as on its path.
function badge(k, colours) {
  const canvas = make("canvas", {class: "badge", "aria-hidden": "true"}), context = sized(canvas, 34, 18);
  Object.assign(context, {strokeStyle: colours.series[k], fillStyle: colours.series[k], lineWidth: 2.2});
  context.setLineDash(DASHES[k]);
  context.beginPath();
  context.moveTo(1, 9);
  context.lineTo(33, 9);
  context.stroke();
  context.setLineDash([]);
  sign(context, SHAPES[k], 17, 9, 5.5);
  context.fill();
  return canvas;
}
