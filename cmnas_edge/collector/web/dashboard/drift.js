// Whether the calibration still holds on this site, in words somebody can act on.

import * as words from "./words.js";

const TWICE = 0.01;     // share of strangers as alike as one person, from which on a camera may follow people twice
const NAMES = { "visible-visible": "Both visible", "infrared-infrared": "Both infrared", "visible-infrared": "Across" };
const VERDICTS = { yes: "holds", no: "holds no more", "too few": "too early to say" };
const RANK = ["no", "too few", "yes"];

// Shown: what /v1/calibration/drift says. On: whom each pair is calibrated on. Box: a list, an item for each pair of lights.
export function drawDrift(shown, on, sum, box) {
  words.put(sum, `Held against what is certain here: two who stood before one camera at one time are two, ` +
    `and who was confirmed is one. ${shown.people ? `${words.several(shown.people, "person", "people")} confirmed so far`
      : "Nobody is confirmed so far: do that on the page of people, for those seen more than once"}` +
    `${shown.contradicted ? `; ${words.number(shown.contradicted)} left out, for one camera saw them twice at one time: is the decision wrong?` : "."}`);
  box.replaceChildren(...Object.keys(NAMES).map((pair) => {
    const [strangers, own] = ["strangers", "one person"].map((of) => shown.parts.find((part) => part.pair === pair && part.of === of));
    const verdict = RANK.find((each) => each === strangers.holds || each === own.holds);
    const item = words.make("li", `drifted ${verdict.replace(" ", "-")}`);
    item.append(words.make("b", "", NAMES[pair]), words.make("span", "verdict", VERDICTS[verdict]));
    item.append(words.make("p", "", strangersSaid(strangers)), words.make("p", "", ownSaid(own)));
    for (const advice of advised(strangers, own, on.get(pair) === "site")) item.append(words.make("p", "advice", advice));
    return item;
  }));
}

function strangersSaid(part) {
  if (!part.count) return "No two strangers seen together yet.";
  return `Of ${words.several(part.count, "pair")} of strangers, ${rate(part.wrong)} would be taken for one person; ${words.oneIn(part.wrong_then)} was promised.${early(part)}`;
}

function ownSaid(part) {
  if (!part.count) return "Nobody confirmed in these lights yet.";
  return `Of ${words.several(part.count, "pair")} of one person, ${rate(part.wrong)} would be missed; ${words.oneIn(part.wrong_then)} was expected.${early(part)}`;
}

const rate = (share) => (share ? words.oneIn(share) : "none");

// So many pairs show it if twice as many go wrong as should: ten of them then do.
const early = (part) => (part.holds === "too few" ? ` ${words.number(Math.ceil(5 / Math.max(part.wrong_then, 1e-6)))} pairs would tell.` : "");

// What to do about it, the urgent first.
function advised(strangers, own, here) {
  const said = [];
  if (strangers.holds === "no") said.push("Expect wrong links: raise the threshold below until strangers are as rare as promised, and make it so.");
  if (own.holds === "no") said.push("Expect one person under several numbers: calibrate on this site, or lower the threshold below.");
  if (strangers.as_alike > TWICE) {
    said.push(`${Math.round(100 * strangers.as_alike)}% of strangers are as alike as one person: does a camera follow somebody twice at one time?`);
  }
  const moved = [strangers, own].filter((part) => part.holds === "yes" && ["some", "much"].includes(part.moved));
  if (!said.length && moved.length) {
    said.push(`Scores have moved (${moved.map((part) => `${part.of} by ${part.shift > 0 ? "+" : ""}${part.shift.toFixed(2)}`).join(", ")}), and the threshold ` +
      `keeps its promise all the same.${here ? "" : " That much is sure of a bundle's calibration: it is of single crops."} ` +
      "Calibrate on this site, so that what is said to be probable is, too.");
  }
  return said;
}
