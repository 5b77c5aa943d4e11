// The page of how it goes: cameras and their clocks, what was lost, what is kept and for how long, and which versions.

import { ask } from "./ask.js";
import { begin, may } from "./shell.js";
import { offer } from "./take.js";
import * as words from "./words.js";

const LATE_S = 30;      // longer behind is worth a look
const AHEAD_S = 2;
const $ = (id) => document.getElementById(id);

async function refresh(health) {
  const cameras = await ask("/v1/cameras");
  words.know(cameras.cameras);
  drawSummary(health, cameras);
  drawCollector(health, cameras);
  drawStorage(health);
  drawCameras(cameras, health.bundles);
  drawGaps(cameras);
}

// What needs somebody, in a sentence each; the worst first.
function worries(health, { cameras, now }) {
  const said = [];
  if (health.status !== "ok") said.push(`Nothing can be stored: ${health.message}`);
  if (health.broker) said.push(`No batch comes by the broker: ${health.broker}`);
  if (health.retention.trouble) said.push(health.retention.trouble);
  said.push(...health.kept_back.map(({ device, reason }) => `${device} keeps what cannot be taken for now: ${reason}.`));
  said.push(...health.bundles_left.map(({ fingerprint, sighting_count: count, heard_at: at }) =>
    `${words.several(count, "sighting")} of the last ${words.lasting(health.hot_window_h * 3600)}, the newest of ${when(at)}, ` +
    `${count === 1 ? "was" : "were"} made by bundle ${fingerprint.slice(0, 16)}, which is accepted no more, and ${count === 1 ? "is" : "are"} not shown: ` +
    "put that bundle into also, in the collector's settings, to have them back."));
  const ahead = cameras.filter((camera) => !camera.recorded && camera.lag_s < -AHEAD_S);
  if (ahead.length) said.push(`${names(ahead)}: the clock is ahead of ours; set it by NTP.`);
  const late = cameras.filter((camera) => !camera.recorded && camera.state === "live" && camera.lag_s > LATE_S);
  if (late.length) said.push(`${names(late)}: what is seen arrives late; the link may be slow, or catching up.`);
  const quiet = cameras.filter((camera) => camera.state === "quiet");
  if (quiet.length) said.push(`${names(quiet)}: quiet for ${words.lasting(now - Math.max(...quiet.map((camera) => camera.last_received_at)))} or longer. Nobody may be in view, or the camera is off.`);
  return [...said, ...words.losses(cameras)];
}

const names = (cameras) => cameras.map(words.place).join(", ");

function drawSummary(health, cameras) {
  const said = worries(health, cameras);
  words.put($("headline"), said.length ? `${words.several(said.length, "thing")} to look at` : "All is well");
  words.put($("subline"), `${words.several(cameras.cameras.length, "camera")} heard in the last ${words.lasting(health.hot_window_h * 3600)}, ` +
    `${words.several(health.device_count, "device")} enrolled.`);
  if ($("worries").textContent !== said.join("")) $("worries").replaceChildren(...said.map((sentence) => words.make("li", "", sentence)));
}

function facts(list, rows) {
  list.replaceChildren(...rows.map(([name, value, note]) => {
    const row = words.make("div");
    const what = words.make("dd", "", value);
    row.append(words.make("dt", "", name), what);
    if (note) what.append(words.make("small", "", note));
    return row;
  }));
}

const when = (seconds) => `${words.date(seconds)}, ${words.minute(seconds)}`;

function drawCollector(health, { cameras }) {
  const on = { drawn: "drawn people", dataset: "a data set", site: "this site" };
  facts($("collector"), [
    ["Version", health.version], ["Running since", when(health.started_at), `${words.lasting(health.now - health.started_at)}`],
    ["Its clock", words.at(health.now), clock(health.now)],
    ...health.bundles.map((bundle, at) => [!at ? (health.bundles.length > 1 ? "Leading bundle" : "Bundle") : "Accepted, too",
      `${bundle.name}, ${bundle.network}`, `${bundle.fingerprint.slice(0, 16)}, vectors of ${bundle.dimension} entries, calibrated on ` +
      on[bundle.calibrated_on] + (health.bundles.length > 1 ? `; ${whoSends(bundle, cameras)}; ${heldOf(bundle, at, health)}` : "")]),
    ["Devices enrolled", words.number(health.device_count)],
  ]);
}

// How far a roll-out has come: which cameras send by a bundle, or else which do not yet, whichever are fewer.
function whoSends({ fingerprint, camera_count: count }, cameras) {
  const without = cameras.filter((camera) => !camera.fingerprints.includes(fingerprint));
  const by = `sent by ${words.number(count)} of ${words.several(cameras.length, "camera")}`;
  return without.length && without.length <= 5 ? `${by}, not by ${names(without)}` : by;
}

// What there is of a bundle, and so whether it is needed still.
function heldOf({ sighting_count: count, heard_at: at }, place, health) {
  if (at !== null) return `${words.several(count, "sighting")} in memory, the last ${words.ago(health.now - at)}`;
  return `nothing of it is in memory${place ? ", so it may be taken out of also once no camera sends by it" : ""}`;
}

// This computer's clock against the collector's; requests take a moment, so seconds do not count.
function clock(now) {
  const off = Date.now() / 1000 - now;
  return Math.abs(off) < 3 ? "as this computer's" : `this computer's is ${words.lasting(Math.abs(off))} ${off > 0 ? "ahead" : "behind"}`;
}

function drawStorage(health) {
  const { retention } = health;
  const kept = retention.retention_h === null ? "without end" : words.lasting(retention.retention_h * 3600);
  facts($("storage"), [
    ["Sightings stored", words.number(health.stored_count), `${words.bytes(health.journal_bytes)} on the disk, ${words.bytes(health.free_bytes)} free`],
    ["In memory", words.number(health.hot_count), `${words.several(health.identity_count, "person", "people")}, probably, in ${words.lasting(health.hot_window_h * 3600)}`],
    ["Kept for", kept, retention.retention_h === null ? "set retention_h to end it" : "then deleted, keys and all"],
    ["Oldest", retention.oldest_received_at === null ? (health.stored_count ? "known within a minute" : "nothing stored") : when(retention.oldest_received_at)],
    ["Next to go", retention.next_expiry_at === null ? "nothing" : when(retention.next_expiry_at),
      retention.next_expiry_at === null ? "" : `in ${words.lasting(retention.next_expiry_at - health.now)}`],
    ["Deleted since the start", words.number(retention.removed_count)],
  ]);
}

function drawCameras({ cameras, now }, bundles) {
  $("cameras").replaceChildren(...cameras.map((camera) => {
    const row = words.make("tr", camera.state);
    const name = row.appendChild(words.make("th", "", camera.camera));
    name.scope = "row";
    name.append(words.make("small", "", camera.device));
    const state = row.appendChild(words.make("td"));
    state.append(words.make("span", `state ${camera.state}`, camera.state === "live" ? "live" : "quiet"));
    row.append(words.make("td", "", words.ago(now - camera.last_received_at)));
    const lag = camera.lag_s ?? 0;
    const late = camera.recorded ? "recorded footage" : lag < -AHEAD_S ? `clock ${words.lasting(-lag)} ahead` : `${words.lasting(Math.max(0, lag))}`;
    row.append(words.make("td", !camera.recorded && (lag > LATE_S || lag < -AHEAD_S) ? "odd" : "", late));
    const light = row.appendChild(words.make("td"));
    light.append(words.make("span", `light ${camera.modality}`, camera.modality));
    const engine = words.make("td", "", `${camera.engine}, ${camera.precision}`);
    if (bundles.length > 1) engine.append(words.make("small", "", `by ${camera.fingerprints.map((one) => words.bundle(one, bundles)).join(" and ")}`));
    row.append(words.make("td", "figure", words.number(camera.sighting_count)),
      words.make("td", `figure${camera.lost_count ? " odd" : ""}`, words.number(camera.lost_count)), engine);
    return row;
  }));
  $("cameras-table").hidden = !cameras.length;
  $("no-cameras").hidden = cameras.length > 0;
}

function drawGaps({ gaps }) {
  $("gaps-card").hidden = !gaps.length;
  $("gaps").replaceChildren(...[...gaps].sort((a, b) => b.received_at - a.received_at).slice(0, 50).map((gap) => {
    const row = words.make("tr");
    row.append(words.make("td", "", gap.device), words.make("td", "", `${words.date(gap.received_at)}, ${words.at(gap.received_at)}`),
      words.make("td", "figure", words.number(gap.count)), words.make("td", "figure", `${gap.first} to ${gap.last}`));
    return row;
  }));
}

const seconds = (id) => ($(id).value ? new Date($(id).value).getTime() / 1000 : null);

begin(refresh).known.then(async () => {
  $("take-card").hidden = !may("export");
  if (!may("export")) return;
  const { cameras } = await ask("/v1/cameras");
  $("take-camera").append(...cameras.map((camera) => new Option(`${camera.camera}, ${camera.device}`, `${camera.device}/${camera.camera}`)));
  offer($("take"), "Take away as CSV", () => ({ camera: $("take-camera").value, seen_from: seconds("take-from"), seen_to: seconds("take-to") }));
}, () => {});
