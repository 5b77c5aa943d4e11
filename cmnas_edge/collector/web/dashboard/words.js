// How times, lights and links are put into words. Every sentence about a link is made here, so that
// none of them promises more than similarity.

const clock = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
const hour = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit", hour12: false });
const day = new Intl.DateTimeFormat([], { day: "numeric", month: "short", year: "numeric" });
const counted = new Intl.NumberFormat();

export const at = (seconds) => clock.format(seconds * 1000);
export const minute = (seconds) => hour.format(seconds * 1000);
export const date = (seconds) => day.format(seconds * 1000);
export const number = (value) => counted.format(value);
export const several = (count, one, more = `${one}s`) => `${number(count)} ${count === 1 ? one : more}`;
export const person = (identity) => `Person ${identity}`;

export function lasting(seconds) {
  if (seconds < 90) return `${Math.max(0, Math.round(seconds))} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 129600) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} days`;
}

export function ago(seconds) {
  return seconds < 2 ? "just now" : `${lasting(seconds)} ago`;
}

// Seconds that people take, as finely as one needs to know.
export function taking(seconds) {
  return seconds < 10 ? `${seconds.toFixed(1)} s` : lasting(seconds);
}

export function bytes(count) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  for (; count >= 1024 && at < units.length - 1; at += 1) count /= 1024;
  return `${count < 10 && at ? count.toFixed(1) : Math.round(count)} ${units[at]}`;
}

// How probable, without more digits than anybody knows.
export function chance(probability) {
  if (probability > 0.99) return "over 99%";
  if (probability < 0.01) return "under 1%";
  return `${Math.round(100 * probability)}%`;
}

// A share as a count of so many: easier to feel than 0.0013.
export function oneIn(rate) {
  if (rate <= 0) return "none seen";
  if (rate > 0.2) return `${Math.round(100 * rate)} in 100`;
  const n = 1 / rate;
  const rounding = 10 ** Math.max(0, Math.floor(Math.log10(n)) - 1);
  return `1 in ${number(Math.round(n / rounding) * rounding)}`;
}

export function between(from, to) {
  return to - from < 1 ? at(from) : `${at(from)} to ${at(to)}`;
}

const score = (value) => value.toFixed(2);
export const lights = (pair) => ({
  "visible-visible": "both visible",
  "infrared-infrared": "both infrared",
  "visible-infrared": "visible to infrared",
})[pair] ?? pair;

// Why a tracklet, or a sighting, has the identity it has.
export function why(link) {
  const odds = link.probability == null ? "" : `, ${chance(link.probability)} probable`;
  const figures = link.score === null ? "" :
    `score ${score(link.score)}, needed ${score(link.threshold)}, ${lights(link.pair)}${odds}${by(link)}`;
  const said = reason(link, figures);
  return link.suggestion ? `Suggestion: ${said[0].toLowerCase()}${said.slice(1)}` : said;
}

function reason(link, figures) {
  switch (link.rule) {
    case "tracklet": return "Still the same appearance";
    case "joined": return `Probably the same person: ${figures}`;
    case "decided": return "Decided by a person";
    case "unsure": return `Perhaps somebody seen before, too close to call: ${figures}`;
    case "merged": return `Probably the same person, found out later: ${figures}`;
    case "parted": return link.score !== null && link.score >= link.threshold
      ? `Set apart from someone in view at the same time; probably this person: ${figures}`
      : "Set apart: in view at the same time as another";
    default:
      if (link.score === null) return "Nobody to compare with yet";
      return link.score < link.threshold ? `Nobody before came near enough: ${figures}`
        : `Too like two people before to tell which: ${figures}`;
  }
}

// The same in a few characters: the score, and what was needed.
export function brief(link) {
  if (link.rule === "tracklet") return "same appearance";
  if (link.rule === "decided") return "decided by a person";
  if (link.score === null) return "new";
  const needed = `(${score(link.score)} ${link.score < link.threshold ? "<" : "≥"} ${score(link.threshold)})`;
  if (link.rule === "unsure") return `new, perhaps known ${needed}`;
  if (link.rule === "opened" && link.score >= link.threshold) return "new, too like two to tell";
  if (link.score < link.threshold) return `new, nearest ${needed}`;
  if (link.suggestion) return `suggestion ${needed}`;
  return `probably the same ${needed}`;
}

const DONE = { confirm: "said that this is one person", merge: "said that these are one person", split: "split some off",
  cannot_link: "said that these are two people", undo: "took a decision back" };
export const decided = (decision) => DONE[decision.kind];

export const moved = (change) => (change.kind === "merged" ? `${person(change.was)} became part of ${person(change.became)}`
  : `${several(change.tracklets.length, "appearance")} of ${person(change.was)} became ${person(change.became)}`);

// Why an identity changed by itself.
export function changed(change) {
  const begin = change.kind === "parted" ? "Was in view at the same time as another"
    : change.suggestion ? "Suggestion: probably the same person" : "Probably the same person";
  if (change.score === null || (change.kind === "parted" && change.score < change.threshold)) return begin;
  const odds = change.probability === null ? "" : `, ${chance(change.probability)} probable`;
  return `${begin}: score ${score(change.score)}, needed ${score(change.threshold)}, ${lights(change.pair)}${odds}${by(change)}`;
}

export function meter(link) {
  const box = document.createElement("div");
  if (link.score === null) return box;
  box.className = `meter${link.score >= link.threshold ? " above" : ""}`;
  box.setAttribute("role", "img");
  box.setAttribute("aria-label", `score ${score(link.score)}, threshold ${score(link.threshold)}`);
  const fill = box.appendChild(document.createElement("i"));
  fill.style.width = `${100 * Math.max(0, Math.min(1, link.score))}%`;
  const mark = box.appendChild(document.createElement("u"));
  mark.style.left = `${100 * Math.max(0, Math.min(1, link.threshold))}%`;
  return box;
}

export function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function make(tag, name, text) {
  const element = document.createElement(tag);
  if (name) element.className = name;
  if (text !== undefined) element.textContent = text;
  return element;
}

// Names of cameras that several devices have; a page says which cameras there are before it names one.
const shared = new Set();

export function know(cameras) {
  shared.clear();
  const seen = new Map();
  for (const { device, camera } of cameras) {
    if (seen.has(camera) && seen.get(camera) !== device) shared.add(camera);
    seen.set(camera, device);
  }
}

// A camera's name, with its device where another device has one of that name.
export const place = ({ device, camera }) => (shared.has(camera) ? `${camera} (${device})` : camera);

// A bundle as an operator knows it: its name, with the beginning of its fingerprint where another is called the same.
export function bundle(fingerprint, bundles) {
  const found = bundles.find((one) => one.fingerprint === fingerprint);
  if (!found) return fingerprint.slice(0, 16);
  return bundles.filter((one) => one.name === found.name).length > 1 ? `${found.name} ${fingerprint.slice(0, 8)}` : found.name;
}

// The bundles that are accepted, as /v1/health lists them.
let accepted = [];

export function accept(bundles) {
  accepted = bundles;
}

// By which bundle a link was decided, while there are several: their scores are not of one kind.
export const by = (link) => (accepted.length > 1 && link.bundle ? `, by ${bundle(link.bundle, accepted)}` : "");

// When a camera was heard, and how late what it says is.
export function heard(camera, now) {
  const lag = camera.recorded ? `footage of ${date(camera.last_seen_at)}`
    : camera.lag_s < -1 ? `its clock ${lasting(-camera.lag_s)} ahead` : `${lasting(Math.max(0, camera.lag_s))} behind`;
  return `${camera.state === "live" ? "Heard" : "Quiet, heard"} ${ago(now - camera.last_received_at)}, ${lag}`;
}

export function losses(cameras) {
  const lost = new Map(cameras.filter((camera) => camera.lost_count).map((camera) => [camera.device, camera.lost_count]));
  return [...lost].map(([device, count]) => `${device} lost ${several(count, "sighting")} while its spool was full`);
}
