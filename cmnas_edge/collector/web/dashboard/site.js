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
  words.know(state.site.cameras);
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
    `${quiet ? `${quiet === site.cameras.length ? "All" : words.number(quiet)} quiet, which may mean nobody in view. ` : "All were heard within a minute. "}` +
    `${gone ? `People probably went from one to another ${gone === 1 ? "once" : `${words.number(gone)} times`}`
      : "Nobody was recognised before a second camera"} in the last hour${recorded() ? " of the footage" : ""}.`);
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
  const say = (device, camera) => words.place({ device, camera });
  const rows = joined(site)
    .filter(([t]) => !chosen || [key(t.from_device, t.from_camera), key(t.to_device, t.to_camera)].includes(chosen));
  $("ways").replaceChildren(...rows.slice(0, 200).map(([way, seen, learned]) => {
    const row = words.make("tr");
    row.append(words.make("td", "", say(way.from_device, way.from_camera)), words.make("td", "", say(way.to_device, way.to_camera)));
    if (seen) {
      row.append(words.make("td", "figure", words.taking(seen.median_s)), words.make("td", "figure muted", spread(seen)),
        words.make("td", "figure", words.number(seen.count)), words.make("td", "figure", words.number(seen.recent_count)));
    } else row.append(...["none seen", "", "", ""].map((said) => words.make("td", "figure muted", said)));
    if (learned) {
      const takes = words.make("td", "figure learned", words.taking(learned.median_s));
      takes.append(words.make("small", "", spread(learned)));
      const counts = words.make("td", "counts", `${Math.round(100 * learned.weight)}%`);
      if (learned.impossible_s !== null) counts.append(words.make("small", "", `under ${words.taking(learned.impossible_s)} is impossible`));
      row.append(takes, words.make("td", "figure", words.number(learned.count)), counts);
    } else row.append(words.make("td", "figure muted learned", "nothing yet"), words.make("td"), words.make("td", "counts muted", "not at all"));
    return row;
  }));
  $("no-ways").hidden = rows.length > 0;
  $("ways-table").hidden = !rows.length;
  words.put($("longest"), `A transit is the time from one appearance to the same person's next before another camera, if it took at most ` +
    `${words.lasting(site.longest_s)}. Both rest on links, which are probable, not certain.`);
}

// Every way that was seen or learned, as its names, what was seen and what was learned; those taken most first.
function joined(site) {
  const ways = new Map();
  const put = (at) => (way) => {
    const name = `${key(way.from_device, way.from_camera)}\n${key(way.to_device, way.to_camera)}`;
    if (!ways.has(name)) ways.set(name, [way, null, null]);
    ways.get(name)[at] = way;
  };
  site.transits.forEach(put(1));
  site.learned.forEach(put(2));
  const times = ([, seen, learned]) => seen?.count ?? learned.count / 1e6;
  return [...ways.values()].sort((a, b) => times(b) - times(a) || (a[0].from_camera < b[0].from_camera ? -1 : 1));
}

const spread = (way) => (way.count < 5 ? "too few to say" : `${words.taking(way.soonest_s)} to ${words.taking(way.latest_s)}`);

document.addEventListener("keydown", (event) => event.key === "Escape" && state.chosen && $("all").click());
$("all").addEventListener("click", () => {
  state.chosen = null;
  draw();
});
begin(refresh);
