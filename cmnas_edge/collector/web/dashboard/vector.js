// A vector out of a file: NumPy's .npy (one vector, or the first row of several), or a JSON list. Read here, in the
// browser; nothing is uploaded but the numbers that are searched for.

const KINDS = { f8: ["getFloat64", 8], f4: ["getFloat32", 4], f2: [null, 2] };

export class Unreadable extends Error {}

// Returns a list of numbers. Throws Unreadable with a sentence for whoever chose the file.
export async function readVector(file) {
  const data = await file.arrayBuffer();
  const bytes = new Uint8Array(data);
  const found = bytes[0] === 0x93 ? npy(data, bytes) : json(bytes);
  if (!found.length || !found.every((value) => Number.isFinite(value))) {
    throw new Unreadable(`${file.name}: expected finite numbers, found something else`);
  }
  const length = Math.hypot(...found);
  if (!length) throw new Unreadable(`${file.name}: expected a vector with a direction, found zeros`);
  return found.map((value) => value / length);
}

function json(bytes) {
  let found = null;
  try {
    found = JSON.parse(new TextDecoder().decode(bytes));
  } catch { /* said below */ }
  if (Array.isArray(found) && Array.isArray(found[0])) [found] = found;
  if (!Array.isArray(found)) throw new Unreadable("expected a NumPy file (.npy) or a JSON list of numbers, found something else");
  return found;
}

// https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
function npy(data, bytes) {
  const view = new DataView(data);
  const wide = bytes[6] >= 2;
  const head = wide ? 12 : 10;
  const length = wide ? view.getUint32(8, true) : view.getUint16(8, true);
  const header = new TextDecoder("latin1").decode(bytes.subarray(head, head + length));
  const [, order, kind] = /'descr':\s*'([<>|=])(\w+)'/.exec(header) ?? [];
  const shape = /'shape':\s*\(([^)]*)\)/.exec(header)?.[1].split(",").map((part) => part.trim()).filter(Boolean).map(Number);
  if (!(kind in KINDS) || !shape || shape.length < 1 || shape.length > 2) {
    throw new Unreadable(`expected one vector of float16, float32 or float64, found ${kind ?? "no array"} of shape (${shape ?? "?"})`);
  }
  const [get, size] = KINDS[kind];
  const count = shape.at(-1);
  const start = head + length;
  if (data.byteLength < start + count * size) throw new Unreadable("expected a whole file, found one that was cut off");
  const little = order !== ">";
  return Array.from({ length: count }, (_, i) => (get ? view[get](start + i * size, little) : half(view.getUint16(start + 2 * i, little))));
}

function half(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const [power, rest] = [(bits >> 10) & 0x1f, bits & 0x3ff];
  if (power === 31) return rest ? NaN : sign * Infinity;
  return sign * (power ? 2 ** (power - 15) * (1 + rest / 1024) : 2 ** -14 * (rest / 1024));
}
