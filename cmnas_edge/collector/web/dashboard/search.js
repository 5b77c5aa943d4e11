// The page of searching: from a sighting, from a time before a camera, or from a vector in a file.

import { ask, query } from "./ask.js";
import * as matches from "./matches.js";
import { Person } from "./person.js";
import { begin, may } from "./shell.js";
import { readVector } from "./vector.js";
import * as words from "./words.js";

const FROM = 12;    // appearances offered to search from
const $ = (id) => document.getElementById(id);
const person = new Person(() => {});
const state = { cameras: null, vector: null, searched: 0 };

async function refresh() {
  const [cameras, calibration] = await Promise.all([ask("/v1/cameras"), state.calibration ?? ask("/v1/calibration")]);
  Object.assign(state, { cameras, calibration });
  words.know(cameras.cameras);
  $("drawn").hidden = !calibration.pairs.some((each) => each.only_suggests);
  const names = cameras.cameras.map((camera) => `${camera.device}/${camera.camera}`);
  for (const id of ["before", "camera"]) {
    const select = $(id);
    if ([...select.options].slice(1).map((option) => option.value).join("\n") === names.join("\n")) continue;
    const chosen = select.value;
    select.replaceChildren(select.options[0], ...cameras.cameras.map((camera, at) => new Option(`${camera.camera}, ${camera.device}`, names[at])));
    select.value = names.includes(chosen) ? chosen : "";
  }
  if (!$("when").value && cameras.cameras.length) $("when").value = local(Math.max(...cameras.cameras.map((camera) => camera.last_seen_at)));
  // At first, whoever came last: something to begin from.
  if ($("found").hidden && way() === "time" && $("when").value) await offer(false);
}

// Epoch seconds as a field for date and time takes them.
function local(seconds) {
  const date = new Date(seconds * 1000 - new Date(seconds * 1000).getTimezoneOffset() * 60000);
  return date.toISOString().slice(0, 19);
}

const way = () => document.querySelector("input[name=way]:checked").value;

function choose() {
  for (const each of ["sighting", "time", "vector"]) $(`by-${each}`).hidden = way() !== each;
  $("go").textContent = way() === "time" ? "Show who was there" : "Search";
  $("narrow").hidden = way() === "time";
  $("reason").hidden = way() === "time";
}

async function go() {
  say("");
  try {
    if (way() === "time") await offer(true);
    else if (way() === "sighting") await bySighting();
    else await byVector();
  } catch (error) {
    say(error.message);
  }
}

async function bySighting() {
  const number = /\d+/.exec($("sighting").value)?.[0];
  if (!number) throw new Error("Give the number of a sighting first.");
  await find({ sighting: Number(number) }, `sighting ${number}`);
}

async function byVector() {
  const [file] = $("file").files;
  if (!file) throw new Error("Choose a file with a vector first.");
  state.searched++;     // the file may take a while to read
  const vector = await readVector(file);
  // A site key's number has more digits than JavaScript counts in: it goes in as text.
  const key = $("key").value.trim();
  if (key && !/^[0-9a-f]{1,16}$/i.test(key)) throw new Error("The site key's number has up to 16 hexadecimal digits.");
  const asked = JSON.stringify({ ...narrowed(), vector, bundle: $("bundle").value, vector_modality: $("vector-light").value, transform: 0, reason: matches.reasonIn($("form")) });
  await find(asked.replace('"transform":0', `"transform":${BigInt(`0x${key || "0"}`)}`), `the vector of ${vector.length} entries in ${file.name}`);
}

// While a site changes from one bundle to another, whoever brings a vector says which made it.
async function offerBundles() {
  const { bundles } = await ask("/v1/health");
  $("bundle").replaceChildren(...bundles.map(({ fingerprint, dimension }) => new Option(`${words.bundle(fingerprint, bundles)}, ${dimension} entries`, fingerprint)));
  $("by-bundle").hidden = bundles.length < 2;
}

// What is asked beside what is searched from.
function narrowed() {
  const seconds = (id) => ($(id).value ? new Date($(id).value).getTime() / 1000 : null);
  return { k: 30, cameras: $("camera").value ? [$("camera").value] : null, modality: $("light").value || null,
    seen_from: seconds("from"), seen_to: seconds("to"), other_identities: $("others").checked };
}

async function find(asked, from) {
  const number = ++state.searched;
  words.put($("results-title"), "Searching");
  const { matches: found } = await matches.search(typeof asked === "string" ? asked : { ...narrowed(), ...asked }, $("form"));
  if (number !== state.searched) return;
  const above = found.filter((match) => match.above).length;
  words.put($("results-title"), found.length ? `${words.several(above, "match", "matches")} of ${words.number(found.length)}, ` +
    `${words.several(new Set(found.map((match) => match.sighting.identity)).size, "person", "people")}` : "Nothing found");
  words.put($("results-from"), found.length
    ? `The sightings nearest to ${from}. ${words.number(above)} ${above === 1 ? "reaches" : "reach"} the score needed for ` +
      "its pair of lights; the others are shown to compare. None of it is proof."
    : "No sighting of the window fits what was asked.");
  $("results").replaceChildren(...matches.people(found, {
    open: (match) => person.open(match.sighting.identity),
    from: (match) => start(match.sighting.id),
  }));
  $("found").hidden = false;
  $("results-title").focus();
}

// Whoever was before a camera about that time, to search from.
async function offer(focus) {
  if (!$("when").value) throw new Error("Choose a time first.");
  if (focus) state.searched++;
  const number = state.searched;
  const at = new Date($("when").value).getTime() / 1000;
  const around = Number($("around").value);
  const { identities } = await ask(`/v1/identities${query({ camera: $("before").value, seen_since: at - around, seen_until: at + around, limit: 200 })}`);
  if (number !== state.searched) return;    // something else was asked meanwhile
  const seen = identities.flatMap((who) => who.tracklets
    .filter((t) => t.seen_at >= at - around && t.seen_from <= at + around && [`${t.device}/${t.camera}`, ""].includes($("before").value))
    .map((t) => ({ who, t })));
  const away = ({ t }) => Math.max(0, t.seen_from - at, at - t.seen_at);
  seen.sort((a, b) => away(a) - away(b));
  words.put($("results-title"), seen.length ? words.several(seen.length, "appearance") : "Nobody was there");
  words.put($("results-from"), seen.length ? `Within ${words.lasting(around)} of ${words.at(at)}, the nearest first. Choose whom to search for.`
    : "Try a longer stretch of time, or every camera.");
  $("results").replaceChildren(...seen.slice(0, FROM).map(({ who, t }) => {
    const item = words.make("li", "match offer");
    const text = item.appendChild(words.make("div", "text"));
    const open = text.appendChild(words.make("button", "who", words.person(who.identity)));
    open.type = "button";
    open.addEventListener("click", () => person.open(who.identity, t));
    text.append(words.make("span", `light ${t.modality}`, t.modality),
      words.make("p", "where", `${words.place(t)}, ${words.date(t.seen_from)}, ${words.between(t.seen_from, t.seen_at)}`));
    if (may("search")) {
      const button = text.appendChild(words.make("button", "act", "Search from this"));
      button.type = "button";
      button.setAttribute("aria-label", `Search from ${words.person(who.identity)} before ${words.place(t)} at ${words.at(t.seen_from)}`);
      button.addEventListener("click", () => start(t.id));
    }
    return item;
  }));
  $("found").hidden = false;
  if (focus) $("results-title").focus();
}

// Search from a sighting, wherever it was found.
function start(sighting) {
  $("way-sighting").checked = true;
  $("sighting").value = sighting;
  choose();
  // Where a reason is wanted, it is asked for first.
  if ($("form").reportValidity()) go();
}

function say(sentence) {
  words.put($("said"), sentence);
  $("said").hidden = !sentence;
}

for (const radio of document.querySelectorAll("input[name=way]")) radio.addEventListener("change", choose);
$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  go();
});
choose();
begin(refresh).known.then(() => {
  $("reason").replaceChildren(...matches.reasonFor("search"));
  if (!may("search")) {
    say("Searching is for operators. You can still see who was before a camera at some time.");
    for (const each of ["sighting", "vector"]) $(`way-${each}`).disabled = true;
    $("way-time").checked = true;
    choose();
  }
  offerBundles().catch((error) => say(error.message));
  const linked = /^#sighting-(\d+)$/.exec(location.hash);
  if (linked && may("search")) start(Number(linked[1]));
}, () => {});
