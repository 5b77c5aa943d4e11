// One probable person in a dialog: where they appeared, why it is thought to be one, who else looks alike.

import * as words from "./words.js";

export class Person {
  constructor(dialog, ask) {
    this.dialog = dialog;
    this.ask = ask;
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
    dialog.addEventListener("close", () => history.replaceState(null, "", location.pathname));
  }

  // Tracklet: the appearance to search from; the last one without it.
  async open(identity, tracklet) {
    const part = (name) => this.dialog.querySelector(`#person-${name}`);
    const found = await this.ask(`/v1/identities/${identity}`);
    if (!found) return;
    const who = found.identity;
    part("title").textContent = words.person(who.identity);
    part("summary").textContent = `Probably one person: ${words.several(who.tracklets.length, "appearance")} before ` +
      `${words.several(who.cameras.length, "camera")}, ${words.date(who.seen_from)}, ${words.between(who.seen_from, who.seen_at)}.`;
    part("track").replaceChildren(...who.tracklets.map((each) => this.appearance(each)));
    const from = tracklet ?? who.tracklets.at(-1);
    part("from").textContent = `Compared with the appearance before ${from.camera} at ${words.at(from.seen_from)}. ` +
      "The mark is the score needed for that pair of lights; scores of different pairs do not compare.";
    part("alike").replaceChildren(words.make("li", "muted", "Searching"));
    history.replaceState(null, "", `#person-${who.identity}`);   // a link to this person
    if (!this.dialog.open) this.dialog.showModal();
    this.dialog.scrollTop = 0;
    const answer = await this.ask("/v1/search", { sighting: from.id, k: 40, other_identities: true });
    part("alike").replaceChildren(...this.alike(answer?.matches ?? []));
  }

  appearance(tracklet) {
    const item = words.make("li");
    item.append(
      words.make("b", "", `${tracklet.camera}, ${words.between(tracklet.seen_from, tracklet.seen_at)}`),
      words.make("span", `light ${tracklet.modality}`, tracklet.modality));
    if (["joined", "merged"].includes(tracklet.rule)) item.append(words.meter(tracklet));
    item.append(words.make("p", "", words.why(tracklet)));
    return item;
  }

  // The best match of each other person, as far as the answer goes.
  alike(matches) {
    const margin = (m) => (m.score - m.threshold) / (1 - m.threshold);
    const best = new Map();
    for (const match of matches) {
      const known = best.get(match.sighting.identity);
      if (!known || margin(match) > margin(known)) best.set(match.sighting.identity, match);
    }
    const rows = [...best.values()].sort((a, b) => margin(b) - margin(a)).slice(0, 5).map((match) => {
      const item = words.make("li");
      const open = words.make("button", "who", words.person(match.sighting.identity));
      open.type = "button";
      open.addEventListener("click", () => this.open(match.sighting.identity));
      item.append(open, words.make("span", `light ${match.sighting.modality}`, match.sighting.camera), words.meter(match),
        words.make("p", "", match.above
          ? `Near enough to be the same, and yet kept apart: ${match.score.toFixed(2)}, needed ${match.threshold.toFixed(2)}`
          : `Not near enough: ${match.score.toFixed(2)}, needed ${match.threshold.toFixed(2)}`));
      return item;
    });
    return rows.length ? rows : [words.make("li", "muted", "Nobody else has been seen.")];
  }
}
