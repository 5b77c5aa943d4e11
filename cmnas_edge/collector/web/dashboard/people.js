// The page of people: who was where, whom it is about, and what came last.

import { ask } from "./ask.js";
import { drawChanges } from "./changes.js";
import { Lanes } from "./lanes.js";
import { Person } from "./person.js";
import { PAGE, Roll } from "./roll.js";
import { begin } from "./shell.js";
import { Tip } from "./tip.js";
import * as words from "./words.js";

const FEED = 40;        // sightings shown
const LATE_S = 60;
const $ = (id) => document.getElementById(id);
const state = { health: null, cameras: null, fed: null };
const person = new Person(() => shell.refresh());
const roll = new Roll(() => draw());
const lanes = new Lanes({ box: $("rows"), list: $("lanes"), axis: $("axis"), tip: new Tip(), roll,
  open: (identity, tracklet) => person.open(identity, tracklet) });

async function refresh(health) {
  const [cameras, newest] = await Promise.all([ask("/v1/cameras"), ask(`/v1/sightings?newest=true&limit=${FEED}`)]);
  Object.assign(state, { health, cameras });
  words.know(cameras.cameras);
  drawChoices();
  roll.later(chosen());
  const [first, last] = lanes.view;
  await roll.need(roll.head ? first : 0, roll.head ? Math.max(first, last - 1) : PAGE - 1, { anew: true });
  draw();
  drawSummary();
  drawCameras();
  drawFeed(once(newest.sightings));
  await drawChanges({ decided: $("decided"), changed: $("changed"), count: $("changes-count") }, (identity) => person.open(identity));
}

// What the controls say, as the API takes it.
function chosen() {
  const span = Number(document.querySelector("input[name=span]:checked").value);
  const until = $("until").value ? new Date($("until").value).getTime() / 1000 : null;
  const to = until ?? (span ? end() : null);
  return { seen_since: span ? to - span : null, seen_until: until, camera: $("camera").value || null,
    modality: $("light").value || null, across: $("across").checked };
}

// Where the time shown ends: now, or with recorded footage, whose clock is its own.
function end() {
  const { cameras, now } = state.cameras;
  const live = cameras.some((camera) => !camera.recorded);
  const last = Math.max(0, ...cameras.map((camera) => camera.last_seen_at));
  // In steps, so that a page of people stays the same for a while.
  return live ? Math.ceil(Math.max(last, now) / 10) * 10 : last;
}

function draw() {
  const { head } = roll;
  if (!head) return;
  const { seen_since, seen_until } = roll.filter;
  $("chart").hidden = !head.found;
  $("none").hidden = head.found > 0;
  if (head.found) {
    const to = seen_until ?? (seen_since === null ? head.seen_to : end());
    const from = Math.min(seen_since ?? head.seen_from, to - 1);
    const edge = Math.max(1, (to - from) * 0.012);
    lanes.draw(seen_since === null ? from - edge : from, to + edge);
  } else if (!head.total) {
    const code = (text) => words.make("code", "", text);
    $("none").replaceChildren("Nobody has been seen yet. Give a device a token with ", code("cmnas-edge collector enrol NAME"),
      ", start it with ", code("cmnas-edge camera"), ", and walk past a camera.");
  } else words.put($("none"), "Nobody fits: choose a longer stretch of time, another camera or light.");
  words.put($("count"), head.found === head.total ? "" : `${words.number(head.found)} of ${words.number(head.total)} people`);
}

function drawSummary() {
  const { health, cameras } = state;
  const { total, across, calibrated_on } = roll.head;
  words.put($("headline"), total ? `${words.number(total)} ${total === 1 ? "person" : "people"}, probably` : "Nobody seen yet");
  const hours = health.hot_window_h;
  words.put($("subline"), total
    ? `${words.several(health.hot_count, "sighting")} before ${words.several(cameras.cameras.length, "camera")} in the last ` +
      `${hours < 2 ? `${Math.round(hours * 60)} minutes` : `${Math.round(hours)} hours`}. ` +
      (across ? `${words.number(across)} ${across === 1 ? "was" : "were"} recognised across visible and infrared.`
        : "Nobody has been recognised across visible and infrared yet.")
    : "A camera sends nothing while nobody is in view.");
  $("calibration").hidden = calibrated_on === "site";
  words.put($("calibration"), calibrated_on === "drawn"
    ? "Thresholds are calibrated on drawn people. They promise little about real ones: expect wrong and missed links until " +
      "you calibrate on this site. Links across visible and infrared are suggestions until then."
    : "Thresholds are calibrated on a data set, not on this site.");
}

function drawChoices() {
  const { cameras } = state.cameras;
  const names = cameras.map((camera) => `${camera.device}/${camera.camera}`);
  const known = [...$("camera").options].slice(1).map((option) => option.value);
  if (names.join("\n") === known.join("\n")) return;
  const wanted = known.length ? $("camera").value : new URLSearchParams(location.search).get("camera") ?? "";
  $("camera").replaceChildren(new Option("Every camera", ""),
    ...cameras.map((camera, at) => new Option(words.place(camera), names[at])));
  $("camera").value = names.includes(wanted) ? wanted : "";
  if ($("camera").value) $("filters").open = true;
}

function drawCameras() {
  const { cameras, now } = state.cameras;
  $("cameras").replaceChildren(...cameras.map((camera) => {
    const item = words.make("li", `camera ${camera.state}`);
    item.append(words.make("b", "", words.place(camera)));
    item.append(words.make("span", `light ${camera.modality}`, camera.modality));
    item.append(words.make("p", "", words.heard(camera, now)));
    if (camera.modalities.length > 1) {
      const other = camera.modalities.find((m) => m !== camera.modality);
      item.append(words.make("p", "", `Switches between both lights; was ${other} before`));
    }
    return item;
  }));
  $("lost").replaceChildren(...words.losses(cameras).map((said) => words.make("li", "", said)));
  if (!cameras.length) $("cameras").replaceChildren(words.make("li", "muted small", "None heard yet."));
}

// While a site changes from one bundle to another, a camera tells of everybody by both: that is once, as first decided.
function once(sightings) {
  const key = (seen) => [seen.device, seen.camera, seen.tracklet, seen.seen_from, seen.seen_at].join();
  return [...new Map(sightings.toReversed().map((seen) => [key(seen), seen])).values()].toReversed();
}

// Whether it took so long to arrive that it stands among what was seen much later. Footage has a clock of its own.
function late(seen) {
  const before = state.cameras.cameras.find((one) => one.device === seen.device && one.camera === seen.camera);
  return !before?.recorded && seen.received_at - seen.seen_at > LATE_S;
}

function drawFeed(sightings) {
  const said = sightings.map((seen) => `${seen.id}:${seen.identity}`).join();
  // Left alone while it says the same, or while somebody moves through it with the keyboard.
  if (said === state.fed || $("feed").contains(document.activeElement)) return;
  state.fed = said;
  $("feed").replaceChildren(...sightings.toReversed().map((seen, at) => {
    const item = words.make("li", "seen");
    const time = item.appendChild(words.make("time", "", words.at(seen.seen_at)));
    time.dateTime = new Date(seen.seen_at * 1000).toISOString();
    const text = item.appendChild(words.make("div"));
    text.append(words.make("span", `light ${seen.modality}`, words.place(seen)));
    const who = text.appendChild(words.make("button", "who", words.person(seen.identity)));
    who.type = "button";
    who.tabIndex = at ? -1 : 0;     // one can be reached by Tab; arrows go on from there
    who.addEventListener("click", () => person.open(seen.identity));
    text.append(words.make("div", "why", words.brief(seen) + (late(seen) ? `, arrived ${words.at(seen.received_at)}` : "")));
    return item;
  }));
  if (!sightings.length) $("feed").replaceChildren(words.make("li", "muted small", "They appear here as they arrive."));
}

$("feed").addEventListener("keydown", (event) => {
  const stops = [...$("feed").querySelectorAll(".who")];
  const to = { ArrowDown: stops.indexOf(event.target) + 1, ArrowUp: stops.indexOf(event.target) - 1, Home: 0, End: stops.length - 1 }[event.key];
  if (stops[to] === undefined || !stops.includes(event.target)) return;
  event.preventDefault();
  for (const stop of stops) stop.tabIndex = stop === stops[to] ? 0 : -1;
  stops[to].focus();
});

const again = () => {
  if (!state.cameras) return;
  $("rows").scrollTop = 0;
  lanes.held = null;
  roll.reset(chosen());
  roll.need(0, PAGE - 1).catch(() => shell.refresh());
};
for (const id of ["span", "across", "camera", "light", "until"]) $(id).addEventListener("change", again);
$("find").addEventListener("submit", (event) => {
  event.preventDefault();
  const number = /\d+/.exec($("number").value);
  if (number) person.open(Number(number[0]));
});
new ResizeObserver(() => roll.head && lanes.draw(lanes.from, lanes.to)).observe($("rows"));

const shell = begin(refresh);
const linked = () => {
  const asked = /^#person-(\d+)$/.exec(location.hash);
  if (asked) person.open(Number(asked[1]));
};
window.addEventListener("hashchange", linked);
shell.known.then(linked);
