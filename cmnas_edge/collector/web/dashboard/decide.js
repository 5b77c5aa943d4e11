// What whoever may decide can decide about a person: that it is one, that some appearances are somebody else's, that
// it is the same as another or is not; and to take any of that back. Everybody sees what was decided, by whom and why.

import { ask } from "./ask.js";
import { may } from "./shell.js";
import * as words from "./words.js";

export class Decide {
  // Box: where the controls go. Past: a list for what was decided. Ticked: says which appearances are. Done: called
  // with a sentence, and with the identity to show then, or null if nothing was decided.
  constructor({ box, past, ticked, done }) {
    Object.assign(this, { box, past, ticked, done, who: null });
  }

  show(who) {
    this.who = who;
    this.past.replaceChildren();
    this.box.replaceChildren();
    if (may("decide")) this.box.append(...this.controls());
    this.tick();
    this.recall();
  }

  controls() {
    const { identity } = this.who;
    const reason = words.make("label", "field wide", "Reason");
    this.reason = reason.appendChild(words.make("input"));
    Object.assign(this.reason, { id: "person-reason", required: true, maxLength: 500, autocomplete: "off", placeholder: "Kept with the decision" });
    const other = words.make("label", "field", "Same as");
    this.other = other.appendChild(words.make("input"));
    Object.assign(this.other, { id: "person-other", inputMode: "numeric", size: 6, autocomplete: "off", placeholder: "Person" });
    this.split = this.button("Split off ticked", () => this.send({ kind: "split", identities: [identity], tracklets: this.ticked() }));
    return [reason, other, this.button("Merge", () => this.merge(Number(/\d+/.exec(this.other.value)?.[0] ?? 0))), this.split,
      this.button("All one person", () => this.send({ kind: "confirm", identities: [identity] }))];
  }

  button(text, act, label) {
    const button = words.make("button", "act", text);
    button.type = "button";
    if (label) button.setAttribute("aria-label", label);
    button.addEventListener("click", () => this.reason.reportValidity() && act());
    return button;
  }

  // For another person: that it is the same, and that it is not.
  pair(other) {
    if (!may("decide")) return [];
    const name = words.person(other);
    const row = words.make("div", "pair");
    row.append(this.button("The same", () => this.merge(other), `${name} is the same: merge`),
      this.button("Not the same", () => this.send({ kind: "cannot_link", identities: [this.who.identity, other] }), `${name} is not the same: keep apart`));
    return [row];
  }

  // Somebody has to stay, and somebody to go.
  tick() {
    if (!may("decide")) return;
    const count = this.ticked().length;
    this.split.disabled = !count || count === this.who.tracklets.length;
  }

  merge(other) {
    if (!other) this.other.focus();
    else this.send({ kind: "merge", identities: [this.who.identity, other] });
  }

  async send(asked) {
    try {
      const made = await ask("/v1/decisions", { ...asked, reason: this.reason.value });
      const gone = made.moved.filter((move) => move.was === this.who.identity);
      const all = gone.length === this.who.tracklets.length;
      this.done(this.told(made, gone), all ? gone[0].became : this.who.identity);
    } catch (error) {
      this.done(error.message, null);
    }
  }

  told(made, gone) {
    switch (made.kind) {
      case "merge": return `Merged into ${words.person(made.moved[0].became)}. It can be undone.`;
      case "split": return `${words.several(gone.length, "appearance")} split off as ${words.person(gone[0].became)}. It can be undone.`;
      case "undo": return made.moved.length ? `Taken back: ${words.several(made.moved.length, "appearance")} went back.` : "Taken back.";
      case "cannot_link": return "They will not be joined. It can be undone.";
      default: return "Nothing automatic will part these. It can be undone.";
    }
  }

  // What was decided about any of these appearances and stands, and what this number did by itself.
  async recall() {
    const { who } = this;
    const own = new Set(who.tracklets.map((tracklet) => tracklet.id));
    const [{ decisions }, { changes }] = await Promise.all([
      ask("/v1/decisions?limit=1000").catch(() => ({ decisions: [] })),
      ask(`/v1/changes?limit=8&identity=${who.identity}`).catch(() => ({ changes: [] }))]);
    if (who !== this.who) return;
    const about = decisions.filter((one) => one.kind !== "undo" && !one.undone && one.tracklets.some((id) => own.has(id)));
    this.past.replaceChildren(...about.slice(0, 8).map((one) => {
      const item = words.make("li");
      item.append(words.make("span", "", `${one.person} ${words.decided(one)}, ${words.date(one.made_at)}, ${words.minute(one.made_at)}: ${one.reason}`));
      if (may("decide")) {
        item.append(this.button("Undo", () => this.send({ kind: "undo", undoes: one.id }), `Undo: ${one.person} ${words.decided(one)}`));
      }
      return item;
    }), ...changes.map((one) => words.make("li", "", `By itself, ${one.at === null ? "before" : `${words.date(one.at)}, ${words.minute(one.at)}`}: ${words.moved(one)}`)));
  }
}
