// Loss against step, on a logarithmic axis where the least value is known.

const DASHES = [[], [7, 3], [2, 2.5], [8, 3, 2, 3]];

// What is drawn: the loss above the minimum, or the loss itself; and the range of the axis.
function lossScale(landscape, walks) {
  const log = landscape.minimum !== null, base = log ? landscape.minimum : 0;
  const first = walks.map((walk) => walk.loss[0] - base).filter(Number.isFinite);
  let low = Infinity, high = -Infinity;
  for (const walk of walks) {
    for (let k = 0; k < walk.finite; k++) {
      const v = walk.loss[k] - base;
      if (!Number.isFinite(v) || (log && v <= 0)) continue;
      low = Math.min(low, v);
      high = Math.max(high, v);
    }
  }
  if (!(low <= high)) [low, high] = log ? [1e-3, 1] : [-1, 1];
  const start = Math.max(...first, log ? 1e-300 : -Infinity);
  if (log) {
    high = Math.min(high, 1e3 * Math.max(start, low));
    low = Math.max(low, 1e-16 * high, 1e-24);
    return {log, base, low: Math.log10(low) - 0.2, high: Math.log10(high) + 0.3};
  }
  const span = Math.max(...first.map(Math.abs), 1);
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

function lossAxes(context, frame, steps, scale, colours) {
  Object.assign(context, {font: colours.font, fillStyle: colours.muted, strokeStyle: colours.line, lineWidth: 1});
  const shown = scale.log
    ? ticks(scale.low, scale.high, Math.min(frame.h / 42, scale.high - scale.low)).filter(Number.isInteger)
    : ticks(scale.low, scale.high, frame.h / 48);
  Object.assign(context, {textAlign: "right", textBaseline: "middle"});
  for (const k of shown) {
    const y = frame.up(scale.log ? 10 ** k : k);
    context.fillText(scale.log ? powerOfTen(k) : short(k), frame.left - 8, y);
    context.beginPath();
    context.moveTo(frame.left, y);
    context.lineTo(frame.left + frame.w, y);
    context.stroke();
  }
  Object.assign(context, {textAlign: "center", textBaseline: "top"});
  for (const k of ticks(0, steps, frame.w / 70)) context.fillText(short(k), frame.across(k), frame.bottom + 7);
  Object.assign(context, {textAlign: "left", textBaseline: "alphabetic"});
  context.fillText(scale.log ? "loss above its minimum, by step" : "loss, by step", 4, 14);
}

// Returns the frame, so that a pointer can be read as a step.
function drawLoss(context, width, height, landscape, walks, {steps, step}, colours) {
  const scale = lossScale(landscape, walks), frame = lossFrame(width, height, steps, scale);
  lossAxes(context, frame, steps, scale, colours);
  context.beginPath();
  Object.assign(context, {strokeStyle: colours.muted, lineWidth: 1});
  context.moveTo(frame.across(step), frame.top);
  context.lineTo(frame.across(step), frame.bottom);
  context.stroke();
  context.save();
  context.beginPath();
  context.rect(frame.left - 8, frame.top - 8, frame.w + 20, frame.h + 16);
  context.clip();
  walks.forEach((walk, k) => drawCurve(context, frame, walk, k, step, scale.base, colours));
  context.restore();
  return frame;
}

function drawCurve(context, frame, {loss, finite}, k, step, base, colours) {
  if (!finite) return;
  context.beginPath();
  for (let n = 0; n < finite; n++) context[n ? "lineTo" : "moveTo"](frame.across(n), frame.up(loss[n] - base));
  Object.assign(context, {strokeStyle: colours.series[k], lineWidth: 1.9, lineJoin: "round"});
  context.setLineDash(DASHES[k]);
  context.stroke();
  context.setLineDash([]);
  const now = Math.min(step, finite - 1);
  sign(context, SHAPES[k], frame.across(now), frame.up(loss[now] - base), 5);
  context.fillStyle = colours.series[k];
  Object.assign(context, {strokeStyle: colours.halo, lineWidth: 3});
  context.stroke();
  context.fill();
}
