// A function of two variables as a smooth image and level lines.

const ACROSS = 321, DOWN = 213, LEVELS = 14;

// Values on a grid over the domain, row by row from the bottom, and where each stands between the lightest colour and
// the darkest: by how high it is among all, unless a `scale` of its own says it.
function fieldOf({f, domain: [left, right, low, high]}, scale = null) {
  const z = new Float64Array(ACROSS * DOWN);
  for (let j = 0; j < DOWN; j++) {
    const y = low + (high - low) * j / (DOWN - 1);
    for (let i = 0; i < ACROSS; i++) z[j * ACROSS + i] = f(left + (right - left) * i / (ACROSS - 1), y);
  }
  const numbers = z.filter(Number.isFinite), sample = numbers.filter((_, k) => k % 7 === 0).sort();
  const at = (q) => sample[Math.min(sample.length - 1, Math.floor(q * sample.length))];
  const quantiles = Float64Array.from({length: 129}, (_, k) => at(k / 128));
  const wanted = Array.from({length: LEVELS}, (_, k) => at(((k + 0.6) / LEVELS) ** 1.7));
  const finite = numbers.length / z.length;
  const place = scale?.place ?? ((value) => rank(quantiles, value));
  return {z, quantiles, levels: scale?.levels ?? [...new Set(wanted)], finite, place, scale};
}

// The share of the picture that lies below `value`, from 0 to 1.
function rank(quantiles, value) {
  let a = 0, b = quantiles.length - 1;
  if (!(value > quantiles[a])) return 0;
  if (value >= quantiles[b]) return 1;
  while (b - a > 1) {
    const middle = (a + b) >> 1;
    if (quantiles[middle] <= value) a = middle;
    else b = middle;
  }
  const width = quantiles[b] - quantiles[a];
  return (a + (width > 0 ? (value - quantiles[a]) / width : 0)) / (quantiles.length - 1);
}

// 256 colours, red green blue in turn, through the stops of a theme.
function rampOf(stops) {
  const parts = stops.map((hex) => [1, 3, 5].map((k) => parseInt(hex.slice(k, k + 2), 16)));
  const ramp = new Uint8ClampedArray(3 * 256);
  for (let k = 0; k < 256; k++) {
    const s = k / 255 * (parts.length - 1), a = Math.min(parts.length - 2, Math.floor(s));
    for (let c = 0; c < 3; c++) ramp[3 * k + c] = parts[a][c] + (s - a) * (parts[a + 1][c] - parts[a][c]);
  }
  return ramp;
}

function imageOf({z, place}, ramp) {
  const canvas = make("canvas", {width: ACROSS, height: DOWN}), context = canvas.getContext("2d");
  const image = context.createImageData(ACROSS, DOWN);
  for (let j = 0; j < DOWN; j++) {
    for (let i = 0; i < ACROSS; i++) {
      const value = z[j * ACROSS + i], k = 4 * ((DOWN - 1 - j) * ACROSS + i);
      if (!Number.isFinite(value)) continue;
      const from = 3 * Math.round(255 * place(value));
      for (let c = 0; c < 3; c++) image.data[k + c] = ramp[from + c];
      image.data[k + 3] = 255;
    }
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

// Level lines by marching squares over every other point; `across` and `up` bring grid places onto the canvas.
function linesOf({z, levels}, across, up) {
  const lines = new Path2D();
  for (let j = 0; j + 2 < DOWN; j += 2) {
    for (let i = 0; i + 2 < ACROSS; i += 2) {
      const k = j * ACROSS + i, a = z[k], b = z[k + 2], c = z[k + 2 * ACROSS + 2], d = z[k + 2 * ACROSS];
      const least = Math.min(a, b, c, d), most = Math.max(a, b, c, d);
      for (let n = 0; n < levels.length; n++) {
        if (least < levels[n] && levels[n] <= most) cell(lines, a, b, c, d, levels[n], i, j, across, up);
      }
    }
  }
  return lines;
}

// The pieces of one level line in one cell, with the corners a, b, c, d around it from the lower left. There are
// thousands of such cells, and a reader who waits.
function cell(lines, a, b, c, d, level, i, j, across, up) {
  let pen = false;
  const mark = (x, y) => {
    if (pen) lines.lineTo(across(x), up(y));
    else lines.moveTo(across(x), up(y));
    pen = !pen;
  };
  if ((a < level) !== (b < level)) mark(i + 2 * (level - a) / (b - a), j);
  if ((b < level) !== (c < level)) mark(i + 2, j + 2 * (level - b) / (c - b));
  if ((c < level) !== (d < level)) mark(i + 2 * (level - d) / (c - d), j + 2);
  if ((d < level) !== (a < level)) mark(i, j + 2 * (level - a) / (d - a));
}
