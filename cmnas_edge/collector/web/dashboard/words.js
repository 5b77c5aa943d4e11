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

export function between(from, to) {
  return to - from < 1 ? at(from) : `${at(from)} to ${at(to)}`;
}

const score = (value) => value.toFixed(2);
const lights = (pair) => ({
  "visible-visible": "both visible",
  "infrared-infrared": "both infrared",
  "visible-infrared": "visible to infrared",
})[pair] ?? pair;

// Why a tracklet, or a sighting, has the identity it has.
export function why(link) {
  const figures = link.score === null ? "" :
    `score ${score(link.score)}, needed ${score(link.threshold)}, ${lights(link.pair)}`;
  switch (link.rule) {
    case "tracklet": return "Still the same appearance";
    case "joined": return `Probably the same person: ${figures}`;
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

// The same in a few characters.
export function brief(link) {
  if (link.rule === "tracklet") return "same appearance";
  if (link.score === null) return "new";
  if (link.rule === "opened" && link.score >= link.threshold) return "new, too like two to tell";
  if (link.score < link.threshold) return `new, nearest ${score(link.score)} of ${score(link.threshold)}`;
  return `probably the same, ${score(link.score)} of ${score(link.threshold)}`;
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
