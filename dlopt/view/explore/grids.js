// A recorded surface: values on a grid, what lies between them, and the paths on it.

const floats = (text) => new Float32Array(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);

// Makes of what Python sent what the pictures ask of a landscape.
function surfaceFrom({name, across, down, domain, loss, about, own, traces}) {
  const z = floats(loss), [left, right, low, high] = domain;
  const node = (x, y) => [(x - left) / (right - left) * (across - 1), (y - low) / (high - low) * (down - 1)].map(Math.round);
  const inside = (i, j) => i >= 0 && j >= 0 && i < across && j < down;
  const f = between(z, across, down, domain), holes = z.filter((value) => !Number.isFinite(value)).length;
  return {
    name, about, own, domain, f, z, across, down, holes, log: false,
    minima: traces.length ? [] : [[0, 0]], minimum: f(0, 0),
    traces: traces.map((trace) => traceFrom(trace, f)),
    // The grid point next to (x, y): only there the loss was computed.
    near(x, y) {
      const [i, j] = node(x, y);
      if (!inside(i, j)) return null;
      const tidy = (value) => Number(value.toPrecision(12));
      return {i, j, x: tidy(left + i / (across - 1) * (right - left)), y: tidy(low + j / (down - 1) * (high - low)), loss: z[j * across + i]};
    },
  };
}

function traceFrom({name, points, loss, held, every}, f) {
  const path = floats(points), real = floats(loss);
  const finite = real.findIndex((value, k) => !Number.isFinite(value + path[2 * k] + path[2 * k + 1]));
  const plane = real.map((_, k) => f(path[2 * k], path[2 * k + 1]));
  return {name, held, every, path, loss: real, plane, finite: finite < 0 ? real.length : finite};
}

// A function through the values of a grid: cubic convolution (Keys 1981), which gives every quadratic back.
function between(z, across, down, [left, right, low, high]) {
  const wide = across + 2, padded = new Float64Array(wide * (down + 2));
  for (let j = 0; j < down; j++) for (let i = 0; i < across; i++) padded[(j + 1) * wide + i + 1] = z[j * across + i];
  const edge = (to, step) => { padded[to] = 3 * padded[to + step] - 3 * padded[to + 2 * step] + padded[to + 3 * step]; };
  for (let j = 1; j <= down; j++) {
    edge(j * wide, 1);
    edge(j * wide + wide - 1, -1);
  }
  for (let i = 0; i < wide; i++) {
    edge(i, wide);
    edge((down + 1) * wide + i, -wide);
  }
  const weights = (t) => [t * (t * (2 - t) - 1) / 2, (t * t * (3 * t - 5) + 2) / 2, t * (t * (4 - 3 * t) + 1) / 2, t * t * (t - 1) / 2];
  return (x, y) => {
    const u = (x - left) / (right - left) * (across - 1), v = (y - low) / (high - low) * (down - 1);
    if (!(u >= -1e-9 && v >= -1e-9 && u <= across - 1 + 1e-9 && v <= down - 1 + 1e-9)) return NaN;
    const i = Math.max(0, Math.min(across - 2, Math.floor(u))), j = Math.max(0, Math.min(down - 2, Math.floor(v)));
    const a = weights(u - i), b = weights(v - j);
    let sum = 0;
    for (let n = 0; n < 4; n++) {
      const k = (j + n) * wide + i;
      sum += b[n] * (a[0] * padded[k] + a[1] * padded[k + 1] + a[2] * padded[k + 2] + a[3] * padded[k + 3]);
    }
    return sum;
  };
}

// One scale for all surfaces that are seen: the lightest colour at their least loss, the darkest at their greatest.
function scaleOf(surfaces, colour) {
  let low = Infinity, high = -Infinity;
  for (const {z} of surfaces) {
    for (const value of z) {
      if (!Number.isFinite(value)) continue;
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
  }
  const log = colour === "log" && low > 0, by = log ? Math.log : (v) => v, span = by(high) - by(low) || 1;
  const place = (v) => Math.max(0, Math.min(1, (by(log ? Math.max(v, low) : v) - by(low)) / span));
  const at = (s) => log ? low * (high / low) ** s : low + s * span;
  const levels = Array.from({length: LEVELS}, (_, k) => at((k + 0.5) / LEVELS));
  return {place, levels, low, high, log, key: [low, high, log].join()};
}
