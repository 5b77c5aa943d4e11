// The camera graph: ways as curves in an SVG, cameras as buttons above it. Thick is much used, moving is used lately.

import { apart, layout } from "./layout.js";
import * as words from "./words.js";

const MANY = 40;            // more names than can be kept apart
const BELOW = [78, 18];     // that "quiet 59 min" takes
const ROOM = [150, 100];    // pixels that a camera with its name takes, and the ways about it
const SVG = "http://www.w3.org/2000/svg";
const draw = (tag, values) => {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(values)) element.setAttribute(name, value);
  return element;
};

export const key = (device, camera) => `${device}/${camera}`;
const between = (way) => `${key(way.from_device, way.from_camera)}\n${key(way.to_device, way.to_camera)}`;

export class Graph {
  // Choose: called with the key of a camera.
  constructor(box, choose) {
    Object.assign(this, { box, choose, nodes: new Map(), places: new Map(), shape: null, chosen: null, site: null });
    this.svg = box.appendChild(draw("svg", { "aria-hidden": "true" }));
    this.list = box.appendChild(words.make("ul"));
    new ResizeObserver(() => this.site && this.show(this.site, this.chosen)).observe(box);
  }

  show(site, chosen) {
    Object.assign(this, { site, chosen });
    const cameras = [...site.cameras].sort((a, b) => (key(a.device, a.camera) < key(b.device, b.camera) ? -1 : 1));
    const names = cameras.map((camera) => key(camera.device, camera.camera));
    const at = new Map(names.map((name, i) => [name, i]));
    const ways = site.transits.map((t) => [at.get(key(t.from_device, t.from_camera)), at.get(key(t.to_device, t.to_camera)), t.median_s]);
    // Cameras stand still while they and their ways stay, however transit times waver.
    const shape = JSON.stringify([names, ways.map(([a, b]) => [a, b]).sort()]);
    if (shape !== this.shape) {
      this.shape = shape;
      const found = layout(names, ways);
      this.places = new Map(names.map((name, i) => [name, found[i]]));
    }
    this.drawNodes(cameras);
    this.stand();
    for (const [name, node] of this.nodes) node.item.style.transform = `translate(${this.spot(name).join("px, ")}px)`;
    this.learned = new Map(site.learned.map((way) => [between(way), way]));
    this.drawWays(site.transits);
  }

  // Where each camera stands, in pixels: a margin is left for names, and none runs into another.
  stand() {
    const { clientWidth: w } = this.box;
    const names = [...this.places.keys()];
    const need = ROOM[1] * Math.ceil(names.length / Math.max(1, Math.floor(w / ROOM[0])));
    this.box.style.minHeight = names.length > MANY ? "" : `${need}px`;     // a phone is high rather than wide
    const { clientHeight: h } = this.box;
    const [mx, my] = [Math.min(92, w * 0.17), 58];
    const spots = names.map((name) => this.places.get(name)).map(([x, y]) => [mx + x * (w - 2 * mx), my + y * (h - 2 * my - 14)]);
    const sizes = names.map((name) => {
      const { title } = this.nodes.get(name);     // what stands below it changes, and nothing is to move for that
      return { side: Math.max(title.offsetWidth, BELOW[0]) / 2 + 2, above: 24, below: 21 + title.offsetHeight + BELOW[1] };
    });
    const found = names.length > MANY ? spots : apart(spots, sizes, w, h);
    this.spots = new Map(names.map((name, i) => [name, found[i]]));
    this.taken = found.map(([x, y], i) => ({ x, y: y + (sizes[i].below - sizes[i].above) / 2, side: sizes[i].side, high: (sizes[i].below + sizes[i].above) / 2 }));
  }

  spot(name) {
    return this.spots.get(name);
  }

  drawNodes(cameras) {
    const kept = new Set();
    for (const camera of cameras) {
      const name = key(camera.device, camera.camera);
      kept.add(name);
      const node = this.nodes.get(name) ?? this.node(name);
      node.button.className = `node ${camera.modality} ${camera.state}${name === this.chosen ? " chosen" : ""}`;
      node.button.setAttribute("aria-pressed", name === this.chosen);
      words.put(node.title, words.place(camera));
      words.put(node.small, camera.state === "live" ? camera.modality : `quiet ${words.lasting(this.site.now - camera.last_received_at)}`);
      node.button.setAttribute("aria-label", `${words.place(camera)}, ${camera.modality}, ${words.heard(camera, this.site.now)}`);
    }
    for (const [name, node] of this.nodes) {
      if (kept.has(name)) continue;
      node.item.remove();
      this.nodes.delete(name);
    }
  }

  node(name) {
    const item = this.list.appendChild(words.make("li"));
    item.style.transition = "none";     // it is there at once, and moves only when its place changes
    requestAnimationFrame(() => requestAnimationFrame(() => (item.style.transition = "")));
    const button = item.appendChild(words.make("button"));
    button.type = "button";
    button.append(words.make("i"));
    const node = { item, button, title: button.appendChild(words.make("b")), small: button.appendChild(words.make("small")) };
    button.addEventListener("click", () => this.choose(name));
    this.nodes.set(name, node);
    return node;
  }

  drawWays(transits) {
    const { clientWidth: w, clientHeight: h } = this.box;
    this.svg.setAttribute("viewBox", `0 0 ${w} ${h}`);
    const most = Math.max(1, ...transits.map((t) => t.count));
    // Weak ways of a crowded graph are in the table alone.
    const shown = [...transits].sort((a, b) => b.count - a.count).slice(0, Math.max(12, 3 * this.nodes.size));
    this.svg.replaceChildren(...shown.map((t) => this.way(t, Math.sqrt(t.count / most))).reverse().flat());
  }

  way(t, share) {
    const [from, to] = [key(t.from_device, t.from_camera), key(t.to_device, t.to_camera)];
    const [[x1, y1], [x2, y2]] = [this.spot(from), this.spot(to)];
    const apart = Math.hypot(x2 - x1, y2 - y1) || 1;
    const [ux, uy] = [(x2 - x1) / apart, (y2 - y1) / apart];
    // Each direction bends to its own side, and ends short of the dots.
    const bend = Math.min(46, 14 + apart * 0.11);
    const [cx, cy] = [(x1 + x2) / 2 - uy * bend, (y1 + y2) / 2 + ux * bend];
    const start = short(x1, y1, cx, cy, 17);
    const end = short(x2, y2, cx, cy, 21);
    const own = this.chosen === from || this.chosen === to;
    const kind = own ? " own" : this.chosen ? " other" : "";
    const learned = this.learned.get(between(t));
    const name = `way${kind}${learned ? "" : " unlearned"}`;
    const d = `M${start} Q${cx.toFixed(1)},${cy.toFixed(1)} ${end}`;
    const line = draw("path", { d, class: name, "stroke-width": (1.4 + 5.5 * share).toFixed(1) });
    const tip = arrow(end, cx, cy, 5 + 4 * share);
    tip.setAttribute("class", name);
    const parts = [line, tip];
    if (t.recent_count && share > 0.3) parts.push(draw("path", { d, class: `flow${kind}` }));
    if (own || (!this.chosen && share > 0.35 && apart > 130)) {
      // Before the middle, so that the ways of a pair, and those that cross there, keep their figures apart.
      // Where no place is free, the table has it.
      const said = words.taking((learned ?? t).median_s);
      const spots = [0.4, 0.5, 0.32, 0.6].map((part) => ({ x: at(part, x1, cx, x2), y: at(part, y1, cy, y2), side: 4 + 3.4 * said.length, high: 9 }));
      const free = spots.find((spot) => this.taken.every((other) => !(Math.abs(spot.x - other.x) < spot.side + other.side && Math.abs(spot.y - other.y) < spot.high + other.high)));
      if (free) {
        this.taken.push(free);
        const label = draw("text", { x: free.x.toFixed(1), y: (free.y + 4).toFixed(1), class: name });
        label.textContent = said;
        parts.push(label);
      }
    }
    return parts;
  }
}

// A coordinate of a quadratic curve, at a share of its way.
const at = (share, a, c, b) => (1 - share) ** 2 * a + 2 * share * (1 - share) * c + share ** 2 * b;

// The point so far from an end of a curve, towards its bend.
function short(x, y, cx, cy, by) {
  const apart = Math.hypot(cx - x, cy - y) || 1;
  return `${(x + ((cx - x) / apart) * by).toFixed(1)},${(y + ((cy - y) / apart) * by).toFixed(1)}`;
}

function arrow(end, cx, cy, size) {
  const [x, y] = end.split(",").map(Number);
  const apart = Math.hypot(x - cx, y - cy) || 1;
  const [ux, uy] = [(x - cx) / apart, (y - cy) / apart];
  const [px, py] = [x + ux * size, y + uy * size];
  return draw("polygon", { points: `${px},${py} ${x - uy * size * 0.62},${y + ux * size * 0.62} ${x + uy * size * 0.62},${y - ux * size * 0.62}` });
}
