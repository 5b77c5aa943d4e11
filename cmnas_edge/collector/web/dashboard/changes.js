// What changed: what people decided, beside what identities did by themselves. Live, and a way to each person.

import { ask } from "./ask.js";
import * as words from "./words.js";

const SHOWN = 30;

// Decided, changed: lists. Open: shows somebody by number.
export async function drawChanges({ decided, changed, count }, open) {
  const [{ decisions }, { changes }] = await Promise.all([ask(`/v1/decisions?limit=${SHOWN}`), ask(`/v1/changes?limit=${SHOWN}`)]);
  list(decided, decisions.map((one) => decision(one, open)), "Nobody decided anything that is still about somebody here.");
  list(changed, changes.map((one) => change(one, open)), "No identity became part of another, and nobody was parted from one.");
  words.put(count, decisions.length || changes.length ? `${upTo(decisions.length)} decided, ${upTo(changes.length)} by itself` : "");
}

const upTo = (count) => (count === SHOWN ? `the last ${SHOWN}` : words.number(count));

// Left alone while somebody moves through it with the keyboard.
function list(box, items, none) {
  if (box.contains(document.activeElement)) return;
  box.replaceChildren(...(items.length ? items : [words.make("li", "muted small", none)]));
}

function entry(at, said) {
  const item = words.make("li", "changed");
  const time = item.appendChild(words.make("time", "", at === null ? "before" : words.minute(at)));
  if (at !== null) {
    time.dateTime = new Date(at * 1000).toISOString();
    time.title = `${words.date(at)}, ${words.at(at)}`;
  }
  item.append(said);
  return item;
}

function who(identity, open) {
  const button = words.make("button", "who", words.person(identity));
  button.type = "button";
  button.addEventListener("click", () => open(identity));
  return button;
}

function change(one, open) {
  const said = words.make("div");
  if (one.kind === "merged") {
    said.append(`${words.person(one.was)} became part of `, who(one.identity, open));
    if (one.identity !== one.became) said.append(words.make("span", "muted", ` by way of ${words.person(one.became)}`));
  } else {
    said.append(`${words.several(one.tracklets.length, "appearance")} of ${words.person(one.was)} became `, who(one.identity, open));
  }
  said.append(words.make("div", "why", words.changed(one)));
  return entry(one.at, said);
}

function decision(one, open) {
  const said = words.make("div", one.undone ? "undone" : "");
  said.append(words.make("b", "", one.person), ` ${words.decided(one)}`);
  one.identities.slice(0, 4).forEach((identity, at) => said.append(at ? ", " : ": ", who(identity, open)));
  said.append(words.make("div", "why", `${one.reason}${one.undone ? " (taken back since)" : ""}`));
  return entry(one.made_at, said);
}
