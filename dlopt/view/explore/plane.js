// The landscape from above: image, level lines, minima, and the paths.

const MARGIN = {left: 40, right: 10, top: 10, bottom: 26};
const SIGNS = 8; // on each path, so that colour is not the only way to tell it
const SHAPES = ["circle", "square", "triangle", "diamond"];

// From the landscape's coordinates to the canvas and back.
function frameOf([left, right, low, high], width, height) {
  const w = width - MARGIN.left - MARGIN.right, h = height - MARGIN.top - MARGIN.bottom;
  const near = (v) => Math.max(-1e5, Math.min(1e5, v)); // canvases do not like what is far off
  return {
    width, height, w, h,
    across: (x) => near(MARGIN.left + w * (x - left) / (right - left)),
    up: (y) => near(MARGIN.top + h * (high - y) / (high - low)),
    back: (px, py) => [left + (px - MARGIN.left) / w * (right - left), high - (py - MARGIN.top) / h * (high - low)],
  };
}

// One of four shapes around a point.
function sign(context, shape, x, y, r) {
  context.beginPath();
  if (shape === "circle") context.arc(x, y, r, 0, 2 * Math.PI);
  const corners = {square: [[-1, -1], [1, -1], [1, 1], [-1, 1]], triangle: [[0, -1.25], [1.15, 0.85], [-1.15, 0.85]],
    diamond: [[0, -1.35], [1.35, 0], [0, 1.35], [-1.35, 0]]}[shape] ?? [];
  corners.forEach(([dx, dy], k) => context[k ? "lineTo" : "moveTo"](x + 0.9 * r * dx, y + 0.9 * r * dy));
  context.closePath();
}

function star(context, x, y, r) {
  context.beginPath();
  for (let k = 0; k < 10; k++) {
    const size = k % 2 ? 0.45 * r : r, angle = Math.PI * (k / 5 - 0.5);
    context[k ? "lineTo" : "moveTo"](x + size * Math.cos(angle), y + size * Math.sin(angle));
  }
  context.closePath();
}

// What does not change while a path does, drawn once.
function backdrop(landscape, field, frame, colours) {
  const canvas = make("canvas"), context = sized(canvas, frame.width, frame.height);
  const {left: l, top: t} = MARGIN, {w, h} = frame, dx = w / (ACROSS - 1), dy = h / (DOWN - 1);
  context.save();
  context.beginPath();
  context.roundRect(l, t, w, h, 6);
  context.clip();
  context.imageSmoothingQuality = "high";
  context.drawImage(imageOf(field, rampOf(colours.ramp.slice(0, 4))), l - dx / 2, t - dy / 2, w + dx, h + dy);
  context.strokeStyle = colours.contour;
  context.lineWidth = 0.8;
  context.stroke(linesOf(field, (i) => l + i * dx, (j) => t + h - j * dy));
  for (const [x, y] of landscape.minima) {
    star(context, frame.across(x), frame.up(y), 9);
    context.lineWidth = 3;
    context.strokeStyle = colours.halo;
    context.stroke();
    context.fillStyle = colours.ink;
    context.fill();
  }
  context.restore();
  axes(context, landscape.domain, frame, colours);
  return canvas;
}

function axes(context, [left, right, low, high], frame, colours) {
  context.font = colours.font;
  context.fillStyle = colours.muted;
  context.textAlign = "center";
  context.textBaseline = "top";
  const bottom = frame.height - MARGIN.bottom + 7;
  for (const x of ticks(left, right, frame.w / 80)) context.fillText(short(x), frame.across(x), bottom);
  context.textAlign = "right";
  context.textBaseline = "middle";
  for (const y of ticks(low, high, frame.h / 45)) context.fillText(short(y), MARGIN.left - 8, frame.up(y));
}

// A path to step `step`, the rest of it faint, signs along it and a large one where it is.
function drawWalk(context, points, step, shape, colour, halo) {
  const last = points.length / 2 - 1, now = Math.min(step, last);
  if (last < 0) return;
  const trace = (from, to) => {
    context.beginPath();
    for (let k = from; k <= to; k++) context[k > from ? "lineTo" : "moveTo"](points[2 * k], points[2 * k + 1]);
  };
  context.lineJoin = "round";
  Object.assign(context, {strokeStyle: colour, lineWidth: 1.2, globalAlpha: 0.35});
  if (now < last) {
    trace(now, last);
    context.stroke();
  }
  trace(0, now);
  Object.assign(context, {strokeStyle: halo, lineWidth: 4.5, globalAlpha: 0.75});
  context.stroke();
  Object.assign(context, {strokeStyle: colour, lineWidth: 2.2, globalAlpha: 1});
  context.stroke();
  context.fillStyle = colour;
  const every = Math.max(1, Math.round(last / SIGNS));
  for (let k = every; k < now; k += every) {
    sign(context, shape, points[2 * k], points[2 * k + 1], 3.6);
    context.fill();
  }
  sign(context, shape, points[2 * now], points[2 * now + 1], 7);
  Object.assign(context, {strokeStyle: halo, lineWidth: 3});
  context.stroke();
  context.fill();
}

// The finite part of a path on the canvas: x, y, x, y, and so on.
function onCanvas(walk, project) {
  const points = new Float64Array(2 * walk.finite);
  for (let k = 0; k < walk.finite; k++) points.set(project(walk.path[2 * k], walk.path[2 * k + 1], walk.loss[k]), 2 * k);
  return points;
}

function drawPlane(context, back, frame, walks, step, colours) {
  context.drawImage(back, 0, 0, frame.width, frame.height);
  context.save();
  context.beginPath();
  context.rect(MARGIN.left, MARGIN.top, frame.w, frame.h);
  context.clip();
  walks.forEach((walk, k) => {
    if (!walk.finite) return;
    const points = onCanvas(walk, (x, y) => [frame.across(x), frame.up(y)]);
    drawWalk(context, points, step, SHAPES[k], colours.series[k], colours.halo);
  });
  context.restore();
}
