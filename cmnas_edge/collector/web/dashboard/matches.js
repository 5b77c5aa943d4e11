// Searching, and what is found in words: how probable, by which light, before which camera, when, and what was needed.

import { ask } from "./ask.js";
import { session } from "./shell.js";
import * as words from "./words.js";

// The field for a reason, where this site wants one for such a question; else nothing.
export function reasonFor(kind) {
  if (!session.reasons.includes(kind)) return [];
  const label = words.make("label", "field wide", "Reason, kept in the audit log");
  const input = label.appendChild(words.make("input"));
  Object.assign(input, { name: "reason", required: true, maxLength: 500, autocomplete: "off" });
  return [label];
}

// What somebody wrote there.
export const reasonIn = (form) => form.elements.reason?.value ?? "";

// Asked: as /v1/search takes it. Form: where a reason stands, if one is wanted.
export function search(asked, form) {
  return ask("/v1/search", typeof asked === "string" ? asked : { ...asked, reason: reasonIn(form) });
}

// What a match is worth, in words that promise no more than similarity.
export function worth(match) {
  const needed = `score ${match.score.toFixed(2)}, needed ${match.threshold.toFixed(2)}, ${words.lights(match.pair)}`;
  if (match.verdict === "unsure") return `Perhaps the same person, too close to call: ${needed}`;
  if (!match.above) return `Probably somebody else: ${needed}`;
  return match.only_suggests
    ? `A suggestion, possibly the same person: ${needed}`
    : `Probably the same person: ${needed}`;
}

// Everything found, by person: the best match of each, in the order of these, and their others to unfold.
export function people(found, acts) {
  const of = new Map();
  found.forEach((match, at) => {
    const { identity } = match.sighting;
    of.set(identity, [...(of.get(identity) ?? []), row(match, at + 1, acts)]);
  });
  return [...of].map(([identity, [best, ...others]]) => {
    if (others.length) {
      const more = best.lastElementChild.appendChild(words.make("details", "others"));
      more.append(words.make("summary", "", `${words.number(others.length)} more of ${words.person(identity)}`));
      more.appendChild(words.make("ol")).append(...others);
    }
    return best;
  });
}

// Open: called with a match, to show the person. From: called with a match, to search from it; none without.
export function row(match, rank, { open, from }) {
  const { sighting } = match;
  const item = words.make("li", `match${match.above ? " above" : ""}`);
  item.dataset.sighting = sighting.id;
  const odds = item.appendChild(words.make("p", "odds"));
  odds.append(words.make("b", "", match.probability === null ? match.score.toFixed(2) : words.chance(match.probability)),
    words.make("small", "", match.probability === null ? "score" : "probable"));
  const text = item.appendChild(words.make("div", "text"));
  const who = text.appendChild(words.make("button", "who", words.person(sighting.identity)));
  who.type = "button";
  who.addEventListener("click", () => open(match));
  text.append(words.make("span", `light ${sighting.modality}`, sighting.modality),
    words.make("p", "where", `${words.place(sighting)}, ${words.date(sighting.seen_at)}, ${words.between(sighting.seen_from, sighting.seen_at)}`),
    words.meter(match), words.make("p", "why", worth(match)));
  if (from) {
    const button = text.appendChild(words.make("button", "plain small", "Search from here"));
    button.type = "button";
    button.setAttribute("aria-label", `Search from match ${rank}, ${words.person(sighting.identity)} before ${words.place(sighting)}`);
    button.addEventListener("click", () => from(match));
  }
  return item;
}
