// The landscape as a surface: quads from the farthest to the nearest (the painter's algorithm), paths among them.

const QUADS = 50, NODES = QUADS + 1;

// Height of a value, from 0 to 1: by its rank where the landscape is best seen by its logarithm; else cut at the top.
function heightOf(landscape, {quantiles}) {
  if (landscape.log) return (v) => rank(quantiles, v);
  const low = quantiles[0], high = quantiles[125];
  return (v) => Math.max(0, Math.min(1.04, (v - low) / (high - low)));
}

// Places in space, -1 to 1, and the colour's place of every node.
function surfaceOf(landscape, field) {
  const [left, right, low, high] = landscape.domain, height = heightOf(landscape, field);
  const nodes = new Float64Array(3 * NODES * NODES), ranks = new Float64Array(NODES * NODES);
  for (let j = 0; j < NODES; j++) {
    for (let i = 0; i < NODES; i++) {
      const k = j * NODES + i, u = i / QUADS, v = j / QUADS;
      const value = landscape.f(left + u * (right - left), low + v * (high - low));
      nodes.set([2 * u - 1, 2 * v - 1, Number.isFinite(value) ? height(value) : NaN], 3 * k);
      ranks[k] = rank(field.quantiles, value);
    }
  }
  const inside = (x, y) => left <= x && x <= right && low <= y && y <= high;
  const at = (x, y, value) => inside(x, y)
    ? [2 * (x - left) / (right - left) - 1, 2 * (y - low) / (high - low) - 1, height(value) + 0.012] : [NaN, NaN, NaN];
  return {nodes, ranks, at};
}

// Turned by `turn`, seen from `tilt` above the horizon: canvas place and depth.
function camera({turn, tilt}, width, height) {
  const size = Math.min(width / 2.9, height / 2.25), c = Math.cos(turn), s = Math.sin(turn);
  const ct = Math.cos(tilt), st = Math.sin(tilt);
  return ([u, v, h]) => {
    const x = 1.2 * u * c - v * s, y = 1.2 * u * s + v * c, z = 1.1 * (h - 0.45);
    return [width / 2 + size * x, height / 2 - size * (z * ct + y * st), y * ct - z * st];
  };
}

// Everything to draw with its depth: quads, then the segments of the paths, a little nearer than the surface.
function pieces(surface, walks, see) {
  const seen = new Float64Array(3 * NODES * NODES), found = [];
  for (let k = 0; k < NODES * NODES; k++) seen.set(see(surface.nodes.subarray(3 * k, 3 * k + 3)), 3 * k);
  for (let j = 0; j < QUADS; j++) {
    for (let i = 0; i < QUADS; i++) {
      const a = j * NODES + i, corners = [a, a + 1, a + NODES + 1, a + NODES];
      const depth = (seen[3 * a + 2] + seen[3 * corners[1] + 2] + seen[3 * corners[2] + 2] + seen[3 * corners[3] + 2]) / 4;
      if (Number.isFinite(depth)) found.push({depth, corners});
    }
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
      const depth = Math.min(points[3 * k + 2], points[3 * k + 5]) - 0.04;
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

function drawSolid(context, surface, frame, walks, step, view, colours) {
  const {width, height} = frame, see = camera(view, width, height), ramp = rampOf(colours.ramp);
  const {seen, lines, found} = pieces(surface, walks, see);
  context.lineWidth = 0.7;
  context.lineCap = "round";
  for (const {corners, of, k} of found) {
    if (corners) {
      const from = 3 * Math.round(255 * surface.ranks[corners[0]]), light = shade(surface.nodes, corners);
      const colour = `rgb(${[0, 1, 2].map((c) => Math.min(255, Math.round(ramp[from + c] * light))).join(",")})`;
      context.beginPath();
      corners.forEach((n, m) => context[m ? "lineTo" : "moveTo"](seen[3 * n], seen[3 * n + 1]));
      context.closePath();
      Object.assign(context, {fillStyle: colour, strokeStyle: colour, lineWidth: 0.7, globalAlpha: 1});
      context.fill();
      context.stroke();
    } else {
      const points = lines[of];
      Object.assign(context, {strokeStyle: colours.series[of], lineWidth: k < step ? 2.4 : 1.2});
      context.globalAlpha = k < step ? 1 : 0.35;
      context.beginPath();
      context.moveTo(points[3 * k], points[3 * k + 1]);
      context.lineTo(points[3 * k + 3], points[3 * k + 4]);
      context.stroke();
    }
  }
  context.globalAlpha = 1;
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
