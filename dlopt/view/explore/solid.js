// The landscape as a surface: quads from the farthest to the nearest (the painter's algorithm), paths among them.

const MESH = 5; // a line of the mesh for every fifth quad

// Height of a value, from 0 to 1: as its colour where the field has a scale, or the landscape is best seen by its
// logarithm; else cut at the top.
function heightOf(landscape, {quantiles, place, scale}) {
  if (landscape.log || scale) return place;
  const low = quantiles[0], high = quantiles[125];
  return (v) => Math.max(0, Math.min(1.04, (v - low) / (high - low)));
}

// Places in space, -1 to 1, of every node, and the colours of the quads, `across` of them on a side.
function surfaceOf(landscape, field, colours, across = 50) {
  const [left, right, low, high] = landscape.domain, height = heightOf(landscape, field);
  const nodes = new Float64Array(3 * (across + 1) ** 2), ranks = new Float64Array((across + 1) ** 2);
  for (let j = 0; j <= across; j++) {
    for (let i = 0; i <= across; i++) {
      const k = j * (across + 1) + i, u = i / across, v = j / across;
      const value = landscape.f(left + u * (right - left), low + v * (high - low));
      nodes.set([2 * u - 1, 2 * v - 1, Number.isFinite(value) ? height(value) : NaN], 3 * k);
      ranks[k] = field.place(value);
    }
  }
  const inside = (x, y) => left <= x && x <= right && low <= y && y <= high;
  const at = (x, y, value) => inside(x, y)
    ? [2 * (x - left) / (right - left) - 1, 2 * (y - low) / (high - low) - 1, height(value) + 0.012] : [NaN, NaN, NaN];
  const minima = landscape.minima.map(([x, y]) => [x, y, landscape.minimum]);
  return {nodes, at, minima, across, quads: quadsOf(nodes, ranks, rampOf(colours.ramp.slice(1)), across)};
}

function quadsOf(nodes, ranks, ramp, across) {
  const quads = [];
  for (let j = 0; j < across; j++) {
    for (let i = 0; i < across; i++) {
      const a = j * (across + 1) + i, above = a + across + 1, corners = [a, a + 1, above + 1, above];
      if (corners.some((k) => Number.isNaN(nodes[3 * k + 2]))) continue;
      const from = 3 * Math.round(255 * (ranks[a] + ranks[above + 1]) / 2), light = shade(nodes, corners);
      const colour = `rgb(${[0, 1, 2].map((c) => Math.min(255, Math.round(ramp[from + c] * light))).join(",")})`;
      quads.push({depth: 0, corners, colour, below: j % MESH === 0, left: i % MESH === 0});
    }
  }
  return quads;
}

// Turned by `turn`, seen from `tilt` above the horizon: canvas place and depth.
function camera({turn, tilt}, width, height) {
  const size = Math.min(width / 3.1, height / 2.7), c = Math.cos(turn), s = Math.sin(turn);
  const ct = Math.cos(tilt), st = Math.sin(tilt);
  return ([u, v, h]) => {
    const x = 1.2 * u * c - v * s, y = 1.2 * u * s + v * c, z = 0.95 * (h - 0.45);
    return [width / 2 + size * x, 0.52 * height - size * (z * ct + y * st), y * ct - z * st];
  };
}

// Everything to draw with its depth: quads, then the segments of the paths, a little nearer than the surface.
function pieces(surface, walks, see) {
  const {nodes} = surface, seen = new Float64Array(nodes.length), found = [...surface.quads];
  for (let k = 0; k < nodes.length; k += 3) seen.set(see([nodes[k], nodes[k + 1], nodes[k + 2]]), k);
  for (const quad of surface.quads) {
    const [a, b, c, d] = quad.corners;
    quad.depth = (seen[3 * a + 2] + seen[3 * b + 2] + seen[3 * c + 2] + seen[3 * d + 2]) / 4;
  }
  const lines = walks.map((walk) => {
    const points = new Float64Array(3 * walk.finite);
    for (let k = 0; k < walk.finite; k++) {
      points.set(see(surface.at(walk.path[2 * k], walk.path[2 * k + 1], walk.loss[k])), 3 * k);
    }
    return points;
  });
  lines.forEach((points, of) => {
    for (let k = 0; 3 * k + 3 < points.length; k++) {
      const depth = Math.min(points[3 * k + 2], points[3 * k + 5]) - 2 / surface.across;
      if (Number.isFinite(depth)) found.push({depth, of, k});
    }
  });
  return {seen, lines, found: found.sort((a, b) => b.depth - a.depth)};
}

// Light from the upper left: how much brighter a quad is than one that lies flat.
function shade(nodes, [a, b, , d]) {
  const dx = nodes[3 * b + 2] - nodes[3 * a + 2], dy = nodes[3 * d + 2] - nodes[3 * a + 2];
  return Math.max(0.72, Math.min(1.12, 1 + 1.6 * (dx - dy)));
}

// A quad, a little larger than it is: no seams show between neighbours.
function drawQuad(context, seen, {corners, colour, below, left}, line) {
  const x = corners.map((n) => seen[3 * n]), y = corners.map((n) => seen[3 * n + 1]);
  const cx = (x[0] + x[1] + x[2] + x[3]) / 4, cy = (y[0] + y[1] + y[2] + y[3]) / 4;
  context.beginPath();
  for (let k = 0; k < 4; k++) context[k ? "lineTo" : "moveTo"](x[k] + 0.09 * (x[k] - cx), y[k] + 0.09 * (y[k] - cy));
  context.fillStyle = colour;
  context.fill();
  if (!below && !left) return;
  context.beginPath();
  context.moveTo(x[below ? 1 : 0], y[below ? 1 : 0]);
  context.lineTo(x[0], y[0]);
  if (left) context.lineTo(x[3], y[3]);
  Object.assign(context, {strokeStyle: line, lineWidth: 0.8});
  context.stroke();
}

function drawSegment(context, points, k, colour, played) {
  Object.assign(context, {strokeStyle: colour, lineWidth: played ? 2.4 : 1.2, globalAlpha: played ? 1 : 0.35});
  context.beginPath();
  context.moveTo(points[3 * k], points[3 * k + 1]);
  context.lineTo(points[3 * k + 3], points[3 * k + 4]);
  context.stroke();
  context.globalAlpha = 1;
}

function drawSolid(context, surface, frame, walks, step, view, colours) {
  const see = camera(view, frame.width, frame.height), {seen, lines, found} = pieces(surface, walks, see);
  context.lineCap = "round";
  for (const piece of found) {
    if (piece.corners) drawQuad(context, seen, piece, colours.contour);
    else drawSegment(context, lines[piece.of], piece.k, colours.series[piece.of], piece.k < step);
  }
  for (const [x, y, value] of surface.minima) {
    const [px, py] = see(surface.at(x, y, value));
    star(context, px, py, 8);
    Object.assign(context, {fillStyle: colours.ink, strokeStyle: colours.halo, lineWidth: 2.5});
    context.stroke();
    context.fill();
  }
  lines.forEach((points, of) => signsOn(context, points, step, SHAPES[of], colours.series[of], colours.halo));
}

function signsOn(context, points, step, shape, colour, halo) {
  const last = points.length / 3 - 1, now = Math.min(step, last), every = Math.max(1, Math.round(last / SIGNS));
  context.fillStyle = colour;
  for (let k = every; k <= now; k++) {
    if (k !== now && (k % every || Number.isNaN(points[3 * k]))) continue;
    sign(context, shape, points[3 * k], points[3 * k + 1], k === now ? 7 : 3.6);
    Object.assign(context, {strokeStyle: halo, lineWidth: 3});
    if (k === now) context.stroke();
    context.fill();
  }
}
