// The page: asks the collector every two seconds, and says what changed.

import { Lanes } from "./lanes.js";
import { Person } from "./person.js";
import * as words from "./words.js";

const EVERY_MS = 2000;
const PEOPLE = 60;      // asked for
const AT_FIRST = 20;    // lanes shown until more are asked for
const FEED = 40;        // sightings shown
const $ = (id) => document.getElementById(id);

const state = { people: null, tag: null, health: null, cameras: null, heard: 0, failed: false, fed: null, all: false };
const person = new Person($("person"), ask);
const lanes = new Lanes($("lanes"), $("axis"), $("tip"), (identity, tracklet) => person.open(identity, tracklet));

async function ask(path, body) {
  const answer = await fetch(path, body && {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
  });
  return answer.ok ? answer.json() : null;
}

async function askPeople() {
  const answer = await fetch(`/v1/identities?limit=${PEOPLE}`, { headers: state.tag ? { "If-None-Match": state.tag } : {}, cache: "no-store" });
  if (answer.status === 304) return state.people;
  if (!answer.ok) throw new Error(answer.statusText);
  state.tag = answer.headers.get("ETag");
  return answer.json();
}

async function refresh() {
  try {
    const [people, cameras, health, newest] = await Promise.all([
      askPeople(), ask("/v1/cameras"), ask("/v1/health"), ask(`/v1/sightings?newest=true&limit=${FEED}`)]);
    Object.assign(state, { people, cameras, health, heard: Date.now(), failed: false });
    drawSummary();
    drawCameras();
    drawLanes();
    drawFeed(newest.sightings);
  } catch {
    state.failed = true;
  }
  drawHealth();
}

function drawHealth() {
  const full = state.health && state.health.status !== "ok";
  $("health").className = `health ${state.failed || full ? "bad" : "ok"}`;
  words.put($("health-text"),
    state.failed ? (state.heard ? `The collector does not answer; last heard ${words.ago((Date.now() - state.heard) / 1000)}` : "The collector does not answer")
      : full ? `Nothing can be stored: ${state.health.message}`
        : `Storing, ${words.several(state.health.stored_count, "sighting")} so far`);
}

function drawSummary() {
  const { people, cameras, health } = state;
  words.put($("headline"), people.total
    ? `${words.number(people.total)} ${people.total === 1 ? "person" : "people"}, probably` : "Nobody seen yet");
  const hours = health.hot_window_h;
  words.put($("subline"), people.total
    ? `${words.several(health.hot_count, "sighting")} before ${words.several(cameras.cameras.length, "camera")} in the last ` +
      `${hours < 2 ? `${Math.round(hours * 60)} minutes` : `${Math.round(hours)} hours`}. ` +
      (people.across ? `${words.number(people.across)} ${people.across === 1 ? "was" : "were"} recognised across visible and infrared.`
        : "Nobody has been recognised across visible and infrared yet.")
    : "A camera sends nothing while nobody is in view.");
  const drawn = people.calibrated_on === "drawn";
  $("calibration").hidden = people.calibrated_on === "site";
  words.put($("calibration"), drawn
    ? "Thresholds are calibrated on drawn people. They promise little about real ones: expect wrong and missed links until you calibrate on this site."
    : "Thresholds are calibrated on a data set, not on this site.");
}

function drawCameras() {
  const { cameras, now } = state.cameras;
  const names = cameras.map((camera) => camera.camera);
  $("cameras").replaceChildren(...cameras.map((camera) => {
    const item = words.make("li", `camera ${camera.state}`);
    const title = item.appendChild(words.make("b", "", camera.camera));
    if (names.indexOf(camera.camera) !== names.lastIndexOf(camera.camera)) title.append(words.make("small", "", ` ${camera.device}`));
    item.append(words.make("span", `light ${camera.modality}`, camera.modality));
    const heard = words.ago(now - camera.last_received_at);
    const lag = camera.recorded ? `footage of ${words.date(camera.last_seen_at)}` :
      `${words.lasting(Math.max(0, camera.lag_s))} behind`;
    item.append(words.make("p", "", `${camera.state === "live" ? "Heard" : "Quiet, heard"} ${heard}, ${lag}`));
    if (camera.modalities.length > 1) {
      const other = camera.modalities.find((m) => m !== camera.modality);
      item.append(words.make("p", "", `Switches between both lights; was ${other} before`));
    }
    return item;
  }));
  const lost = new Map(cameras.filter((camera) => camera.lost_count).map((camera) => [camera.device, camera.lost_count]));
  $("lost").replaceChildren(...[...lost].map(([device, count]) =>
    words.make("li", "", `${device} lost ${words.several(count, "sighting")} while its spool was full`)));
  if (!cameras.length) $("cameras").replaceChildren(words.make("li", "muted small", "None heard yet."));
}

function drawLanes() {
  const { people, cameras } = state;
  const span = Number(document.querySelector("input[name=span]:checked").value);
  const live = cameras.cameras.some((camera) => camera.state === "live" && !camera.recorded);
  const last = Math.max(...people.identities.map((who) => who.seen_at));
  const to = live && span ? Math.max(last, cameras.now) : last;
  const shown = people.identities.filter((who) => (!span || who.seen_at >= to - span) && (!$("across").checked || who.modalities.length > 1));
  const from = span ? to - span : Math.min(...shown.map((who) => who.seen_from));
  const edge = Math.max(1, (to - from) * 0.012);
  shown.sort((a, b) => b.seen_from - a.seen_from || b.identity - a.identity);
  const few = state.all ? shown : shown.slice(0, AT_FIRST);
  $("all").hidden = few.length === shown.length;
  words.put($("all"), `Show ${words.number(shown.length - few.length)} more`);
  if (shown.length) lanes.draw(few, span ? from : from - edge, to + edge);
  else lanes.draw([], 0, 1);
  $("chart").hidden = !shown.length;
  $("none").hidden = shown.length > 0;
  if (!shown.length && !people.total) {
    const code = (text) => words.make("code", "", text);
    $("none").replaceChildren("Nobody has been seen yet. Give a device a token with ", code("cmnas-edge collector enrol NAME"),
      ", start it with ", code("cmnas-edge camera"), ", and walk past a camera.");
  } else if (!shown.length) words.put($("none"), "Nobody fits: choose a longer stretch of time, or untick the box.");
  $("more-people").hidden = people.total <= people.identities.length;
  words.put($("more-people"), `The ${words.number(people.identities.length)} people seen last are shown, of ${words.number(people.total)}.`);
}

function drawFeed(sightings) {
  const said = sightings.map((seen) => `${seen.id}:${seen.identity}`).join();
  // Left alone while it says the same, or while somebody moves through it with the keyboard.
  if (said === state.fed || $("feed").contains(document.activeElement)) return;
  state.fed = said;
  $("feed").replaceChildren(...sightings.toReversed().map((seen) => {
    const item = words.make("li", "seen");
    const time = item.appendChild(words.make("time", "", words.at(seen.seen_at)));
    time.dateTime = new Date(seen.seen_at * 1000).toISOString();
    const text = item.appendChild(words.make("div"));
    text.append(words.make("span", `light ${seen.modality}`, seen.camera));
    const who = text.appendChild(words.make("button", "who", words.person(seen.identity)));
    who.type = "button";
    who.addEventListener("click", () => person.open(seen.identity));
    text.append(words.make("div", "why", words.brief(seen)));
    return item;
  }));
  if (!sightings.length) $("feed").replaceChildren(words.make("li", "muted small", "They appear here as they arrive."));
}

async function run() {
  if (!document.hidden) await refresh();
  setTimeout(run, EVERY_MS);
}

const redraw = () => state.people && drawLanes();
$("span").addEventListener("change", redraw);
$("across").addEventListener("change", redraw);
$("all").addEventListener("click", () => {
  state.all = true;
  redraw();
});
window.addEventListener("resize", redraw);
document.addEventListener("visibilitychange", () => document.hidden || refresh());
run();

const linked = () => {
  const asked = /^#person-(\d+)$/.exec(location.hash);
  if (asked) person.open(Number(asked[1]));
};
window.addEventListener("hashchange", linked);
linked();
