// The page of the calibration: which scores were seen, and what another threshold would do. It shows; a command writes.

import { ask, query } from "./ask.js";
import { across, errors, histogram } from "./charts.js";
import { drawDrift } from "./drift.js";
import { Person } from "./person.js";
import { Rates } from "./rates.js";
import { begin } from "./shell.js";
import * as words from "./words.js";

const STEP = 0.01;
const ASK_MS = 160;     // after the last move
const $ = (id) => document.getElementById(id);
const person = new Person(() => {});
const state = { shown: null, bundles: [], drift: null, pair: "visible-visible", scores: new Map(), rates: new Map(), timer: 0, asked: 0 };
const ON = { drawn: "drawn people", dataset: "a data set", site: "this site" };

async function refresh(health) {
  const [shown, drift, { cameras }] = await Promise.all([ask("/v1/calibration"), ask("/v1/calibration/drift"), ask("/v1/cameras")]);
  words.know(cameras);
  Object.assign(state, { drift, bundles: health.bundles });
  drawDrift(drift, new Map(shown.pairs.map((each) => [each.pair, each.calibrated_on])), $("drift-sum"), $("drift"));
  if (JSON.stringify(shown) !== JSON.stringify(state.shown)) {
    state.shown = shown;
    state.rates = new Map(shown.pairs.filter((each) => each.scale).map((each) => [each.pair, new Rates(each.scale)]));
  }
  draw();
  await askMoved();
}

const own = () => state.shown.pairs.find((each) => each.pair === state.pair);
const rates = () => state.rates.get(state.pair);
const score = () => state.scores.get(state.pair) ?? own().threshold.score;
// This site's own scores of the pair, where there are enough for a shape.
const here = () => state.drift.parts.filter((part) => part.pair === state.pair && part.count >= 50).map((part) => part.scores);
const range = () => {
  const [low, high] = rates()?.range ?? [0, 1];
  return [Math.min(low, own().threshold.score) - 0.02, Math.min(1, Math.max(high, own().threshold.score) + 0.02)];
};

function draw() {
  const { shown } = state;
  words.put($("headline"), `Calibrated on ${ON[shown.calibrated_on]}`);
  words.put($("subline"), shown.calibrated_on === "site"
    ? "These thresholds were found from people of this site."
    : "How alike two people may look differs from site to site. Until you calibrate on this one, expect wrong and missed links.");
  drawBundles();
  const { threshold, scale, only_suggests, calibrated_on } = own();
  $("suggests").hidden = !only_suggests;
  words.put($("on"), `Found from ${words.number(threshold.genuine_count)} pairs of one person and ${words.number(threshold.impostor_count)} of strangers` +
    `${scale ? `, ${words.number(scale.identity_count)} people in all` : ""}, ${ON[calibrated_on]}. Bundle ${words.bundle(shown.fingerprint, state.bundles)}, ${shown.fingerprint.slice(0, 16)}.`);
  $("charts").hidden = !scale;
  $("curve").hidden = !scale;
  $("no-scale").hidden = Boolean(scale);
  drawThreshold();
}

// While a site changes from one bundle to another, all of this page is about the one that leads, and it says so.
function drawBundles() {
  const [leading, ...others] = state.bundles;
  $("leading").hidden = !others.length;
  const name = ({ fingerprint }) => `${words.bundle(fingerprint, state.bundles)} (${fingerprint.slice(0, 16)})`;
  const one = others.length === 1;
  if (others.length) words.put($("leading"), `${words.several(state.bundles.length, "bundle")} are accepted. All of this page is about the leading one, ${name(leading)}. ` +
    `${others.map(name).join(", ")} ${one ? "is" : "are"} judged by ${one ? "a calibration of its" : "calibrations of their"} own, which ${one ? "is" : "are"} shown here, held against this site and made anew once ${one ? "it leads" : "they lead"}.`);
}

function drawThreshold() {
  const { threshold, scale } = own();
  const at = score();
  const moved = Math.abs(at - threshold.score) > 1e-9;
  const slider = $("slider");
  slider.setAttribute("aria-valuemin", range()[0].toFixed(2));
  slider.setAttribute("aria-valuemax", range()[1].toFixed(2));
  slider.setAttribute("aria-valuenow", at.toFixed(3));
  slider.setAttribute("aria-valuetext", said(at));
  words.put($("score"), at.toFixed(moved ? 2 : 3));
  words.put($("was"), moved ? `in effect: ${threshold.score.toFixed(3)}` : "in effect");
  $("back").hidden = !moved;
  if (scale) {
    const found = rates();
    histogram($("histogram"), $("histogram").firstElementChild, found, range(), { score: at, unsure_from: scale.unsure_from, own: threshold.score, here: here() });
    $("here-key").hidden = !here().length;
    errors($("errors"), $("errors").firstElementChild, found, range(), at);
    slider.style.left = `${across($("histogram"), range()).x(at)}px`;
    words.put($("fmr"), words.oneIn(found.falseMatch(at)));
    words.put($("fnmr"), words.oneIn(found.falseNonMatch(at)));
    words.put($("sure"), state.shown.prior === null ? "" : words.chance(found.probability(at, state.shown.prior, threshold)));
    words.put($("prior"), state.shown.prior === null ? "" : `if ${words.oneIn(state.shown.prior)} pairs is one person before anybody looks`);
    words.put($("command"), `cmnas-edge collector calibrate --config CONFIG.toml --out site.json --rate ${rate(found.falseMatch(at))}`);
  } else words.put($("command"), "cmnas-edge collector calibrate --config CONFIG.toml --out site.json");
}

// Two digits, and no smaller than one stranger seen: nobody knows rarer errors.
function rate(value) {
  return Number(Math.max(value, 1 / rates().count("impostor")).toPrecision(2)).toString();
}

function said(at) {
  const found = rates();
  return found ? `${at.toFixed(2)}: ${words.oneIn(found.falseMatch(at))} strangers match, ${words.oneIn(found.falseNonMatch(at))} true matches missed` : at.toFixed(2);
}

function move(to) {
  const [low, high] = range();
  state.scores.set(state.pair, Math.min(high, Math.max(low, Math.round(to / STEP) * STEP)));
  drawThreshold();
  clearTimeout(state.timer);
  state.timer = setTimeout(() => askMoved().catch(() => {}), ASK_MS);
}

async function askMoved() {
  const number = ++state.asked;
  const at = score();
  const moved = await ask(`/v1/calibration/moved${query({ pair: state.pair, score: Math.min(1, Math.max(-1, at)).toFixed(4) })}`);
  if (number !== state.asked) return;
  const same = Math.abs(at - own().threshold.score) <= 1e-9;
  words.put($("moved"), same ? "Move the threshold to see which links of the window would change."
    : moved.would_part + moved.would_join === 0 ? "No link of the window would change."
      : `At ${at.toFixed(2)}, about ${moved.would_part ? words.several(moved.would_part, "link") : "no link"} of the window would not hold, and ` +
        `${words.number(moved.would_join)} more would be made. Each is looked at by itself: what would follow from it is not counted.`);
  $("links").replaceChildren(...(same ? [] : moved.links.map(link)));
}

function link(one) {
  const item = words.make("li");
  const parts = one.score >= one.threshold;
  const who = words.make("button", "who", words.person(one.identity));
  who.type = "button";
  who.addEventListener("click", () => person.open(one.identity));
  item.append(who, words.make("span", `light ${one.modality}`, words.place(one)));
  const other = one.against_identity === null || one.against_identity === one.identity ? "" : ` ${words.person(one.against_identity)}`;
  item.append(words.make("p", "", `${words.at(one.seen_from)}, score ${one.score.toFixed(2)}: ` +
    (parts ? "would no longer be thought the same as before" : `would be thought the same as${other || " another"}`)));
  return item;
}

const slider = $("slider");
slider.addEventListener("keydown", (event) => {
  const by = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -5, PageUp: 5 }[event.key];
  if (by) move(score() + by * STEP);
  else if (event.key === "Home") move(range()[0]);
  else if (event.key === "End") move(range()[1]);
  else if (event.key === "Escape") back();
  else return;
  event.preventDefault();
});
$("histogram").addEventListener("pointerdown", (event) => {
  const box = $("histogram").getBoundingClientRect();
  const to = (pointer) => move(across($("histogram"), range()).score(pointer.clientX - box.left));
  $("histogram").setPointerCapture(event.pointerId);
  slider.focus({ preventScroll: true });
  to(event);
  const follow = (pointer) => to(pointer);
  $("histogram").addEventListener("pointermove", follow);
  const end = () => $("histogram").removeEventListener("pointermove", follow);
  $("histogram").addEventListener("pointerup", end, { once: true });
  $("histogram").addEventListener("pointercancel", end, { once: true });
  event.preventDefault();
});

function back() {
  state.scores.delete(state.pair);
  drawThreshold();
  askMoved().catch(() => {});
}

$("back").addEventListener("click", () => {
  back();
  slider.focus();
});
$("pairs").addEventListener("change", (event) => {
  state.pair = event.target.value;
  if (!state.shown) return;
  draw();
  askMoved().catch(() => {});
});
$("copy").addEventListener("click", async () => {
  await navigator.clipboard.writeText($("command").textContent);
  words.put($("copy"), "Copied");
  setTimeout(() => words.put($("copy"), "Copy"), 1500);
});
new ResizeObserver(() => state.shown && drawThreshold()).observe($("histogram"));
begin(refresh);
