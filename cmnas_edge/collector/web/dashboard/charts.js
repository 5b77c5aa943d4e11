// The two pictures of a calibration: how often which score was seen, and which errors a threshold trades for which.

import * as words from "./words.js";

const SVG = "http://www.w3.org/2000/svg";
const draw = (tag, values, text) => {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(values)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  return element;
};
const LOWEST = 1e-4;    // of the error curve's axes
const part = (count, most) => Math.sqrt(count / most);     // a root, so that tails, which matter, can be seen

// Where scores stand on the histogram, in pixels.
export function across(box, [low, high]) {
  const [left, right] = [12, box.clientWidth - 12];
  return { x: (score) => left + ((score - low) / (high - low)) * (right - left),
    score: (x) => low + ((x - left) / (right - left)) * (high - low) };
}

// Strangers on one person's pairs; what a threshold gets wrong of each is in the warning colour. Here: the scores that
// this site has, as outlines.
export function histogram(box, svg, rates, range, { score, unsure_from, own, here }) {
  const [w, h] = [box.clientWidth, box.clientHeight];
  const { x } = across(box, range);
  const floor = h - 26;
  svg.setAttribute("viewBox", `0 0 ${w} ${h}`);
  const parts = [];
  if (unsure_from < own) {
    parts.push(draw("rect", { class: "band", x: x(unsure_from), y: 8, width: Math.max(0, x(own) - x(unsure_from)), height: floor - 8 }));
  }
  for (const kind of ["impostor", "genuine"]) {
    const most = Math.max(...rates[kind]);
    const wrong = kind === "impostor" ? (at) => at >= score - 1e-9 : (at) => at + 0.01 <= score + 1e-9;
    const bars = { right: "", wrong: "" };
    rates[kind].forEach((count, bin) => {
      const at = bin / 100 - 1;
      if (!count) return;
      const top = floor - part(count, most) * (floor - 16);
      bars[wrong(at) ? "wrong" : "right"] += `M${x(at).toFixed(1)},${floor}V${top.toFixed(1)}H${(x(at + 0.01) + 0.3).toFixed(1)}V${floor}Z`;
    });
    parts.push(draw("path", { class: kind, d: bars.right }), draw("path", { class: `${kind} wrong`, d: bars.wrong }));
  }
  for (const { first, counts } of here) {
    const most = Math.max(...counts);
    const steps = counts.map((count, at) => {
      const left = (first + at) / 100 - 1;
      return `V${(floor - part(count, most) * (floor - 16)).toFixed(1)}H${x(left + 0.01).toFixed(1)}`;
    });
    parts.push(draw("path", { class: "here", d: `M${x(first / 100 - 1).toFixed(1)},${floor}${steps.join("")}V${floor}` }));
  }
  parts.push(draw("line", { class: "floor", x1: 0, x2: w, y1: floor, y2: floor }));
  for (let tick = Math.ceil(range[0] * 5) / 5; tick <= range[1] + 1e-9; tick += 0.2) {
    parts.push(draw("text", { class: "tick", x: x(tick), y: h - 8 }, (Math.abs(tick) < 1e-9 ? 0 : tick).toFixed(1)));
  }
  parts.push(draw("line", { class: "own", x1: x(own), x2: x(own), y1: 8, y2: floor }));
  svg.replaceChildren(...parts);
}

// False non-matches over false matches, both axes by powers of ten, with the calibration's own points and how well
// they are known.
export function errors(box, svg, rates, range, score) {
  const [w, h] = [box.clientWidth, box.clientHeight];
  const [left, top, right, floor] = [52, 12, w - 14, h - 40];
  const share = (rate) => 1 - Math.log(Math.max(LOWEST, Math.min(1, rate))) / Math.log(LOWEST);
  const x = (rate) => left + share(rate) * (right - left);
  const y = (rate) => floor - share(rate) * (floor - top);
  svg.setAttribute("viewBox", `0 0 ${w} ${h}`);
  const parts = [];
  for (let power = -4; power <= 0; power += 1) {
    const rate = 10 ** power;
    const label = power ? `1 in ${words.number(Math.round(1 / rate))}` : "all";
    parts.push(draw("line", { class: "grid", x1: x(rate), x2: x(rate), y1: top, y2: floor }),
      draw("line", { class: "grid", x1: left, x2: right, y1: y(rate), y2: y(rate) }),
      draw("text", { class: "tick end", x: left - 8, y: y(rate) + 4 }, power ? `${100 * rate}%` : "100%"));
    if (w > 330 || power % 2 === 0) parts.push(draw("text", { class: "tick", x: x(rate), y: floor + 16 }, label));
  }
  const line = [];
  for (let at = range[0]; at <= range[1]; at += 0.005) line.push([rates.falseMatch(at), rates.falseNonMatch(at)]);
  const seen = line.filter(([fmr]) => fmr > 0);
  parts.push(draw("path", { class: "curve", d: `M${seen.map(([fmr, fnmr]) => `${x(fmr).toFixed(1)},${y(fnmr).toFixed(1)}`).join("L")}` }));
  for (const point of rates.scale.points) {
    const [low, high] = point.false_non_match_between;
    parts.push(draw("line", { class: "known", x1: x(point.false_match_rate), x2: x(point.false_match_rate), y1: y(low), y2: y(high) }),
      draw("circle", { class: "known", cx: x(point.false_match_rate), cy: y(point.false_non_match_rate), r: 3 }));
  }
  parts.push(draw("circle", { class: "here", cx: x(rates.falseMatch(score)), cy: y(rates.falseNonMatch(score)), r: 6.5 }),
    draw("text", { class: "axis-name", x: (left + right) / 2, y: h - 6 }, "strangers taken for one person"),
    draw("text", { class: "axis-name", transform: `translate(11 ${(top + floor) / 2}) rotate(-90)` }, "matches missed"));
  svg.replaceChildren(...parts);
}
