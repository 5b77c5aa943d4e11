// Where cameras stand on the page: near each other when people get from one to the other quickly. The same cameras
// and ways always stand the same: no chance is in it.
//
// Stress majorisation (Gansner, Koren, North, Graph drawing by stress majorization, 2004) from a circle in the order of
// names, with the square root of transit times as wanted distances; turned so that the longest way lies flat.

const STEPS = 150;
const MOST = 80;    // beyond, a grid: nobody reads such a graph, and n * n is long

// Names: sorted. Ways: [from, to, seconds] by place in names. Returns x and y in 0 to 1 for each.
export function layout(names, ways) {
  const n = names.length;
  if (n === 0) return [];
  if (n === 1) return [[0.5, 0.5]];
  if (n > MOST) return grid(n);
  const wanted = distances(n, ways);
  let at = names.map((_, i) => [Math.cos((2 * Math.PI * i) / n), Math.sin((2 * Math.PI * i) / n)]);
  for (let step = 0; step < STEPS; step += 1) at = at.map((own, i) => pulled(own, i, at, wanted));
  return fitted(turned(at));
}

function distances(n, ways) {
  const far = Array.from({ length: n }, (_, i) => Array.from({ length: n }, (_, j) => (i === j ? 0 : Infinity)));
  for (const [a, b, seconds] of ways) {
    const d = Math.max(1, Math.sqrt(Math.max(0, seconds)));
    far[a][b] = Math.min(far[a][b], d);
    far[b][a] = far[a][b];
  }
  for (let k = 0; k < n; k += 1) {
    for (let i = 0; i < n; i += 1) for (let j = 0; j < n; j += 1) far[i][j] = Math.min(far[i][j], far[i][k] + far[k][j]);
  }
  const known = far.flat().filter((d) => d > 0 && d < Infinity);
  const longest = known.length ? Math.max(...known) : 1;
  const shortest = longest / 3;       // nothing stands so near that names overlap
  return far.map((row, i) => row.map((d, j) => (i === j ? 0 : d === Infinity ? 1.3 * longest : Math.max(d, shortest))));
}

function pulled(own, i, at, wanted) {
  let [x, y, sum] = [0, 0, 0];
  at.forEach(([a, b], j) => {
    if (i === j) return;
    const d = wanted[i][j];
    const weight = 1 / (d * d);
    const apart = Math.hypot(own[0] - a, own[1] - b) || 1e-6;
    x += weight * (a + (d * (own[0] - a)) / apart);
    y += weight * (b + (d * (own[1] - b)) / apart);
    sum += weight;
  });
  return [x / sum, y / sum];
}

function turned(at) {
  const [mx, my] = [0, 1].map((k) => at.reduce((sum, p) => sum + p[k], 0) / at.length);
  let [xx, xy, yy] = [0, 0, 0];
  for (const [x, y] of at) {
    xx += (x - mx) ** 2;
    xy += (x - mx) * (y - my);
    yy += (y - my) ** 2;
  }
  const angle = 0.5 * Math.atan2(2 * xy, xx - yy);
  const [c, s] = [Math.cos(angle), Math.sin(angle)];
  const flat = at.map(([x, y]) => [c * (x - mx) + s * (y - my), c * (y - my) - s * (x - mx)]);
  const [fx, fy] = flat[0];      // the first by name stands left and above
  return flat.map(([x, y]) => [fx > 0 ? -x : x, fy > 0 ? -y : y]);
}

function fitted(at) {
  const scaled = [0, 1].map((k) => {
    const values = at.map((p) => p[k]);
    const [low, high] = [Math.min(...values), Math.max(...values)];
    return values.map((v) => (high - low < 1e-6 ? 0.5 : (v - low) / (high - low)));
  });
  return at.map((_, i) => [scaled[0][i], scaled[1][i]]);
}

// Pixels at which names can be read: each stands in a box, moved as little as keeps the boxes apart and inside.
// Sizes: how far a box reaches to either side, and above and below, of each. Where that finds no way out, they stand in
// rows, as high and as far to the left as they were among each other.
export function apart(spots, sizes, width, height) {
  const at = spots.map(([x, y], i) => inside([x, y], sizes[i], width, height));
  for (let step = 0; step < 2 * STEPS; step += 1) {
    let moved = false;
    for (let i = 0; i < at.length; i += 1) {
      for (let j = 0; j < i; j += 1) {
        const x = sizes[i].side + sizes[j].side - Math.abs(at[i][0] - at[j][0]);
        const y = at[i][1] < at[j][1] ? sizes[i].below + sizes[j].above - (at[j][1] - at[i][1])
          : sizes[j].below + sizes[i].above - (at[i][1] - at[j][1]);
        if (x < 1 || y < 1) continue;
        moved = true;
        const along = x < y ? 0 : 1;
        const by = (Math.min(x, y) / 2) * (at[i][along] < at[j][along] ? -1 : 1);
        at[i][along] += by;
        at[j][along] -= by;
        at[i] = inside(at[i], sizes[i], width, height);
        at[j] = inside(at[j], sizes[j], width, height);
      }
    }
    if (!moved) return at;
  }
  return rows(at, sizes, width, height);
}

function rows(at, sizes, width, height) {
  const across = Math.max(1, Math.floor(width / (2 * Math.max(...sizes.map(({ side }) => side)))));
  const down = Math.ceil(at.length / across);
  const order = at.map((_, i) => i).sort((a, b) => at[a][1] - at[b][1]);
  const found = [];
  for (let row = 0; row < down; row += 1) {
    const some = order.slice(row * across, (row + 1) * across).sort((a, b) => at[a][0] - at[b][0]);
    some.forEach((i, place) => (found[i] = inside([((place + 0.5) / some.length) * width, ((row + 0.4) / down) * height], sizes[i], width, height)));
  }
  return found;
}

const inside = ([x, y], { side, above, below }, width, height) =>
  [Math.min(Math.max(x, side), Math.max(side, width - side)), Math.min(Math.max(y, above), Math.max(above, height - below))];

function grid(n) {
  const wide = Math.ceil(Math.sqrt(1.6 * n));
  const high = Math.ceil(n / wide);
  return Array.from({ length: n }, (_, i) => [(i % wide) / Math.max(1, wide - 1), Math.floor(i / wide) / Math.max(1, high - 1)]);
}
