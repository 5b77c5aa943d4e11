// What every page does beside what is its own: it says who is logged in and how the collector is, and asks again.

import { ask } from "./ask.js";
import { Live } from "./live.js";
import * as words from "./words.js";

const LEAST_MS = 1000;      // between two askings, however much happens

export const session = { name: "", role: "", may: [], reasons: [] };
export const may = (route) => session.may.includes(route);

// Refresh: asks for what the page shows and draws it; called at first, and whenever it may be another. It is given
// what /v1/health says.
export function begin(refresh) {
  markWide();
  const beat = new Beat(refresh);
  const known = Promise.all([
    ask("/v1/session").then((found) => Object.assign(session, found)).then(who),
    ask("/v1/health").then(({ bundles }) => words.accept(bundles)),
  ]).catch(() => {});
  const ready = known.then(() => new Live("/v1/events", () => beat.due()));
  ready.then(() => beat.due());
  return { refresh: () => beat.due(), known };
}

// Tables that are wider than the window say so: on a phone nothing else shows that they go on.
function markWide() {
  for (const box of document.querySelectorAll(".scroll")) {
    const more = words.make("p", "more-beside muted small", "Slide it sideways for more columns.");
    more.setAttribute("aria-hidden", "true");   // who is read to has every column
    box.before(more);
    const look = () => more.classList.toggle("shown", !box.hidden && box.scrollWidth > box.clientWidth + 1);
    const watch = new ResizeObserver(look);
    [box, box.firstElementChild].forEach((each) => watch.observe(each));
  }
}

class Beat {
  constructor(refresh) {
    Object.assign(this, { refresh, asking: false, again: false, heard: 0, health: null });
  }

  // One asking at a time; what comes in between is one more, a little later.
  async due() {
    if (this.asking) {
      this.again = true;
      return;
    }
    this.asking = true;
    this.again = false;
    try {
      this.health = await ask("/v1/health");
      words.accept(this.health.bundles);
      await this.refresh(this.health);
      this.heard = Date.now();
      this.show("");
    } catch (error) {
      if (!error.status) console.warn(error);
      this.show(error.status ? error.message : this.heard
        ? `The collector does not answer; last heard ${words.ago((Date.now() - this.heard) / 1000)}` : "The collector does not answer");
    }
    setTimeout(() => {
      this.asking = false;
      if (this.again) this.due();
    }, LEAST_MS);
  }

  show(trouble) {
    const full = this.health && this.health.status !== "ok" ? `Nothing can be stored: ${this.health.message}` : "";
    const box = document.getElementById("health");
    box.className = `health ${trouble || full ? "bad" : "ok"}`;
    words.put(document.getElementById("health-text"),
      trouble || full || `Storing, ${words.several(this.health.stored_count, "sighting")}`);
  }
}

function who() {
  if (!session.name) return;
  const form = words.make("form", "who-am-i");
  Object.assign(form, { method: "post", action: "/log-out" });
  form.append(words.make("span", "muted small", `${session.name}, ${session.role}`), words.make("button", "plain small", "Log out"));
  document.getElementById("top").append(form);
}
