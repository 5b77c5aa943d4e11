// One probable person in a dialog: where they appeared, why it is thought to be one, who else looks alike, and what
// whoever may decide can decide.

import { ask, query } from "./ask.js";
import { Decide } from "./decide.js";
import { reasonFor, reasonIn, search } from "./matches.js";
import { may } from "./shell.js";
import { offer } from "./take.js";
import * as words from "./words.js";

const MARKUP = `
  <form method="dialog" class="bar">
    <h2 id="person-title"></h2>
    <button class="close" aria-label="Close">Close</button>
  </form>
  <p id="person-summary" class="muted"></p>
  <p id="person-said" role="status" class="said" tabindex="-1" hidden></p>
  <ul id="person-past" class="past" aria-label="What was decided, and what changed by itself"></ul>
  <div id="person-actions" class="actions" role="group" aria-label="Decide"></div>
  <h3 id="person-shown">Appearances</h3>
  <ol id="person-track" class="track"></ol>
  <form id="person-take" class="asking" hidden></form>
  <div id="person-others">
    <h3>Others who look alike</h3>
    <p id="person-from" class="muted small"></p>
    <form id="person-ask" class="asking"></form>
    <div id="person-maybe" hidden>
      <h3>Who else it may be, by all appearances</h3>
      <ol id="person-suggested" class="alike"></ol>
      <h3>Nearest to the appearance compared with</h3>
    </div>
    <ol id="person-alike" class="alike"></ol>
  </div>`;

export class Person {
  // Changed: called when something was decided.
  constructor(changed) {
    Object.assign(this, { changed, who: null, from: null, decide: null });
    this.dialog = document.body.appendChild(document.createElement("dialog"));
    this.dialog.id = "person";
    this.dialog.setAttribute("aria-labelledby", "person-title");
    this.dialog.innerHTML = MARKUP;
    this.dialog.addEventListener("click", (event) => event.target === this.dialog && this.dialog.close());
    this.dialog.addEventListener("close", () => history.replaceState(null, "", location.pathname + location.search));
    this.decide = new Decide({ box: this.part("actions"), past: this.part("past"), done: (said, identity) => this.decided(said, identity),
      ticked: () => [...this.dialog.querySelectorAll("#person-track input:checked")].map((tick) => Number(tick.value)) });
    this.part("track").addEventListener("change", () => this.decide.tick());
    this.part("ask").addEventListener("submit", (event) => {
      event.preventDefault();
      this.compare();
    });
  }

  part(name) {
    return this.dialog.querySelector(`#person-${name}`);
  }

  // Tracklet: the appearance to search from; the last one without it.
  async open(identity, tracklet) {
    this.say("");
    this.part("alike").replaceChildren();
    this.part("maybe").hidden = true;
    try {
      this.show((await ask(`/v1/identities/${identity}`)).identity, tracklet);
    } catch (error) {
      if (!this.dialog.open) {
        words.put(this.part("title"), words.person(identity));
        for (const name of ["track", "summary", "actions", "past"]) this.part(name).replaceChildren();
        for (const name of ["shown", "others", "take"]) this.part(name).hidden = true;
      }
      this.say(error.message);
    }
    if (!this.dialog.open) this.dialog.showModal();
    this.dialog.scrollTop = 0;
  }

  show(who, tracklet) {
    Object.assign(this, { who, from: tracklet ?? who.tracklets.at(-1) });
    words.put(this.part("title"), words.person(who.identity));
    words.put(this.part("summary"), `Probably one person: ${words.several(who.tracklets.length, "appearance")} before ` +
      `${words.several(who.cameras.length, "camera")}, ${words.date(who.seen_from)}, ${words.between(who.seen_from, who.seen_at)}.`);
    this.part("track").replaceChildren(...who.tracklets.map((each) => this.appearance(each)));
    this.part("shown").hidden = false;
    this.part("others").hidden = false;
    this.decide.show(who);
    offer(this.part("take"), "Take away as CSV", () => ({ identity: who.identity }));
    this.part("ask").hidden = !may("search");
    words.put(this.part("from"), may("search")
      ? `Compared with the appearance before ${words.place(this.from)} at ${words.at(this.from.seen_from)}. The mark is the score that was needed.`
      : "Looking for others alike is a search, and searches are for operators.");
    const look = words.make("button", "more", "Look for them");
    this.part("ask").replaceChildren(...reasonFor("search"), look);
    history.replaceState(null, "", `${location.pathname}${location.search}#person-${who.identity}`);   // a link to this person
  }

  // After a decision: what there is now, and what was done.
  async decided(said, identity) {
    if (identity !== null) {
      this.changed();
      await this.open(identity);
    }
    this.say(said);
    this.part("said").focus({ preventScroll: true });    // what had the focus was made anew; Tab leads to undoing it
    this.dialog.scrollTop = 0;
  }

  // Who else it may be, most probable first.
  suggested(suggestions) {
    this.part("maybe").hidden = !suggestions.length;
    this.part("suggested").replaceChildren(...suggestions.map((one) => {
      const item = words.make("li");
      const odds = one.probability === null ? "" : `${words.chance(one.probability)} probable, `;
      item.append(this.opener(one.identity), words.make("span", "muted small", words.lights(one.pair)), words.meter(one),
        words.make("p", "", `${odds}score ${one.score.toFixed(2)}, needed ${one.threshold.toFixed(2)}${words.by(one)}`), ...this.decide.pair(one.identity));
      return item;
    }));
  }

  opener(identity) {
    const open = words.make("button", "who", words.person(identity));
    open.type = "button";
    open.addEventListener("click", () => this.open(identity));
    return open;
  }

  say(sentence) {
    words.put(this.part("said"), sentence);
    this.part("said").hidden = !sentence;
  }

  appearance(tracklet) {
    const item = words.make("li");
    const title = words.make(may("decide") ? "label" : "b", "at", `${words.place(tracklet)}, ${words.between(tracklet.seen_from, tracklet.seen_at)}`);
    if (may("decide")) {
      const tick = words.make("input");
      Object.assign(tick, { type: "checkbox", value: tracklet.id });
      title.prepend(tick);
    }
    item.append(
      title,
      words.make("span", `light ${tracklet.modality}`, tracklet.modality));
    if (["joined", "merged"].includes(tracklet.rule)) item.append(words.meter(tracklet));
    item.append(words.make("p", "", words.why(tracklet)));
    return item;
  }

  // Both are searches, and noted: on asking.
  async compare() {
    const { who, from } = this;
    this.part("alike").replaceChildren(words.make("li", "muted", "Searching"));
    try {
      const [{ matches }, { suggestions }] = await Promise.all([
        search({ sighting: from.id, k: 40, other_identities: true }, this.part("ask")),
        ask(`/v1/identities/${who.identity}/suggestions${query({ reason: reasonIn(this.part("ask")) })}`)]);
      if (who !== this.who) return;
      this.suggested(suggestions);
      this.part("alike").replaceChildren(...this.alike(matches));
    } catch (error) {
      this.part("alike").replaceChildren(words.make("li", "muted", error.message));
    }
  }

  // The best match of each other person, as far as the answer goes.
  alike(matches) {
    const margin = (m) => m.probability ?? (m.score - m.threshold) / (1 - m.threshold);
    const best = new Map();
    for (const match of matches) {
      const known = best.get(match.sighting.identity);
      if (!known || margin(match) > margin(known)) best.set(match.sighting.identity, match);
    }
    const rows = [...best.values()].sort((a, b) => margin(b) - margin(a)).slice(0, 5).map((match) => {
      const item = words.make("li");
      const odds = match.probability === null ? "" : `${words.chance(match.probability)} probable, `;
      item.append(this.opener(match.sighting.identity), words.make("span", `light ${match.sighting.modality}`, words.place(match.sighting)), words.meter(match),
        words.make("p", "", match.above
          ? `Near enough to be the same, and yet kept apart: ${odds}${match.score.toFixed(2)}, needed ${match.threshold.toFixed(2)}`
          : `Not near enough: ${odds}${match.score.toFixed(2)}, needed ${match.threshold.toFixed(2)}`),
        ...this.decide.pair(match.sighting.identity));
      return item;
    });
    return rows.length ? rows : [words.make("li", "muted", "Nobody else has been seen.")];
  }
}
