// The page of the site: cameras, the ways between them and how long those take, live.

import { ask } from "./ask.js";
import { Graph, key } from "./graph.js";
import { begin } from "./shell.js";
import * as words from "./words.js";

const $ = (id) => document.getElementById(id);
const state = { site: null, chosen: null };
const graph = new Graph($("graph"), (name) => {
  state.chosen = state.chosen === name ? null : name;
  draw();
});

async function refresh() {
  state.site = await ask("/v1/site");
  draw();
}

function draw() {
  const { site } = state;
  const named = new Set(site.cameras.map((camera) => key(camera.device, camera.camera)));
  if (!named.has(state.chosen)) state.chosen = null;
  $("graph").hidden = !site.cameras.length;
  $("none").hidden = site.cameras.length > 0;
  graph.show(site, state.chosen);
  drawSummary();
  drawCameras();
  drawWays();
}

function drawSummary() {
  const { site } = state;
  const quiet = site.cameras.filter((camera) => camera.state === "quiet").length;
  words.put($("headline"), site.cameras.length ? words.several(site.cameras.length, "camera") : "No camera heard yet");
  const gone = site.transits.reduce((sum, t) => sum + t.recent_count, 0);
  words.put($("subline"), !site.cameras.length ? "A camera shows up here with its first sighting." :
    `${quiet ? `${quiet === site.cameras.length ? "All" : words.number(quiet)} quiet, ${quiet === 1 ? "which" : "which"} may mean nobody in view. ` : "All were heard within a minute. "}` +
    `${words.several(gone, "person", "people")} probably went from one to another in the last hour${recorded() ? " of the footage" : ""}.`);
}

const recorded = () => state.site.cameras.every((camera) => camera.recorded);

function drawCameras() {
  const { site } = state;
  const traffic = new Map(site.traffic.map((each) => [key(each.device, each.camera), each.counts]));
  const most = Math.max(1, ...site.traffic.flatMap((each) => each.counts));
  const shown = site.cameras.filter((camera) => !state.chosen || key(camera.device, camera.camera) === state.chosen);
  $("cameras").replaceChildren(...shown.map((camera) => {
    const name = key(camera.device, camera.camera);
    const item = words.make("li", `camera ${camera.state}`);
    const title = item.appendChild(words.make("b", "", camera.camera));
    title.append(words.make("small", "", ` ${camera.device}`));
    item.append(words.make("span", `light ${camera.modality}`, camera.modality));
    const counts = traffic.get(name) ?? [];
    item.append(spark(counts, most));
    const sum = counts.reduce((a, b) => a + b, 0);
    const line = item.appendChild(words.make("p", "", `${words.several(sum, "appearance")} in an hour. ${words.heard(camera, site.now)}. `));
    const link = line.appendChild(words.make("a", "", "Who was there"));
    link.href = `/?camera=${encodeURIComponent(name)}`;
    link.setAttribute("aria-label", `Who was there: people before ${camera.camera}`);
    return item;
  }));
  $("all").hidden = !state.chosen;
}

// An hour in thirty bars, the last on the right.
function spark(counts, most) {
  const box = words.make("div", "spark");
  box.setAttribute("aria-hidden", "true");
  box.append(...counts.map((count) => {
    const bar = words.make("i", count ? "" : "zero");
    bar.style.height = `${count ? 12 + (88 * count) / most : 4}%`;
    return bar;
  }));
  return box;
}

function drawWays() {
  const { site, chosen } = state;
  const names = site.cameras.map((camera) => camera.camera);
  const say = (device, camera) => (names.filter((name) => name === camera).length > 1 ? `${camera}, ${device}` : camera);
  const rows = site.transits
    .filter((t) => !chosen || [key(t.from_device, t.from_camera), key(t.to_device, t.to_camera)].includes(chosen))
    .sort((a, b) => b.count - a.count || (a.from_camera < b.from_camera ? -1 : 1));
  $("ways").replaceChildren(...rows.slice(0, 200).map((t) => {
    const row = words.make("tr");
    const few = t.count < 5;
    row.append(words.make("td", "", say(t.from_device, t.from_camera)), words.make("td", "", say(t.to_device, t.to_camera)),
      words.make("td", "figure", words.taking(t.median_s)),
      words.make("td", "figure muted", few ? "too few to say" : `${words.taking(t.soonest_s)} to ${words.taking(t.latest_s)}`),
      words.make("td", "figure", words.number(t.count)), words.make("td", "figure", words.number(t.recent_count)));
    return row;
  }));
  $("no-ways").hidden = rows.length > 0;
  $("ways-table").hidden = !rows.length;
  words.put($("longest"), `A transit is the time from one appearance to the same person's next before another camera, if it took at most ` +
    `${words.lasting(site.longest_s)}. Both rest on links, which are probable, not certain.`);
}

$("all").addEventListener("click", () => {
  state.chosen = null;
  draw();
});
begin(refresh);
