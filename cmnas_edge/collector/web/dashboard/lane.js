// One probable person's row: the name, and a bar an appearance on the time that the axis shows.

import * as words from "./words.js";

export class Lane {
  // Open: called with identity and tracklet, or none for the last. Tip: see tip.js.
  constructor(identity, open, tip) {
    Object.assign(this, { identity, open, tip, who: null, spans: new Map(), order: [] });
    this.element = words.make("li", "lane");
    this.name = this.element.appendChild(words.make("button", "name"));
    this.name.type = "button";
    this.name.tabIndex = -1;
    this.title = this.name.appendChild(words.make("b", "", words.person(identity)));
    this.small = this.name.appendChild(words.make("small"));
    this.strip = this.element.appendChild(words.make("div", "strip"));
    this.thread = this.strip.appendChild(words.make("div", "thread"));
    this.name.addEventListener("click", () => open(identity));
  }

  get stops() {
    return [this.name, ...this.order.map((span) => span.element)];
  }

  // From, to: the stretch of time shown, in epoch seconds. Width: of the strip, in pixels.
  fill(who, from, to, width) {
    if (this.who === who && this.shown === `${from} ${to} ${width}`) return;     // scrolling changes nothing in it
    this.who = who;
    this.shown = `${from} ${to} ${width}`;
    const where = who.cameras.length === 1 ? words.place(who.tracklets[0]) : words.several(who.cameras.length, "camera");
    words.put(this.small, `${where}${who.modalities.length > 1 ? ", both lights" : ""}`);
    const pixel = (time) => width * (Math.min(Math.max(time, from), to) - from) / (to - from);
    place(this.thread, pixel(who.seen_from), pixel(who.seen_at));
    const kept = new Set();
    for (const tracklet of who.tracklets) {
      if (tracklet.seen_at < from || tracklet.seen_from > to) continue;
      kept.add(tracklet.id);
      const span = this.spans.get(tracklet.id) ?? this.span(tracklet.id);
      span.tracklet = tracklet;
      place(span.element, pixel(tracklet.seen_from), pixel(tracklet.seen_at));
      const short = pixel(tracklet.seen_at) - pixel(tracklet.seen_from) < 30;
      const name = `span ${tracklet.modality}${short ? " short" : ""}${tracklet.suggestion ? " suggestion" : ""}`;
      if (span.element.className !== name) span.element.className = name;
      span.element.setAttribute("aria-label",
        `${words.place(tracklet)}, ${tracklet.modality}, ${words.between(tracklet.seen_from, tracklet.seen_at)}. ${words.why(tracklet)}`);
    }
    for (const [id, span] of this.spans) {
      if (kept.has(id)) continue;
      span.element.remove();
      span.beside.remove();
      this.spans.delete(id);
    }
    this.order = [...this.spans.values()].sort((a, b) => a.tracklet.seen_from - b.tracklet.seen_from);
    this.label(pixel, width);
  }

  // Its place among all.
  stand(index, height, count) {
    if (this.index === index && this.height === height && this.count === count) return;
    Object.assign(this, { index, height, count });
    this.element.style.transform = `translateY(${index * height}px)`;
    this.element.setAttribute("aria-posinset", index + 1);
    this.element.setAttribute("aria-setsize", count);
  }

  // A camera's name stands in its bar, or beside it where there is room, or only in the tooltip.
  label(pixel, width) {
    this.order.forEach((span, index) => {
      const { seen_from, seen_at } = span.tracklet;
      const camera = words.place(span.tracklet);
      const [start, end] = [pixel(seen_from), Math.max(pixel(seen_from) + 8, pixel(seen_at))];
      const next = this.order[index + 1];
      const needed = 20 + 7.2 * camera.length;
      const inside = end - start >= needed;
      const room = (next ? pixel(next.tracklet.seen_from) : width) - end;
      words.put(span.label, inside ? camera : "");
      words.put(span.beside, !inside && this.who.cameras.length > 1 && room >= needed ? camera : "");
      span.beside.style.transform = `translateX(${end}px)`;
    });
  }

  span(id) {
    const element = this.strip.appendChild(words.make("button", "span"));
    element.type = "button";
    element.tabIndex = -1;
    const beside = this.strip.appendChild(words.make("span", "beside"));
    beside.setAttribute("aria-hidden", "true");
    const span = { element, beside, label: element.appendChild(words.make("i")), tracklet: null };
    element.addEventListener("click", () => this.open(this.identity, span.tracklet));
    element.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && this.tell(span));
    element.addEventListener("pointerleave", () => this.tip.hush());
    element.addEventListener("focus", () => element.matches(":focus-visible") && this.tell(span));
    element.addEventListener("blur", () => this.tip.hush());
    this.spans.set(id, span);
    return span;
  }

  tell(span) {
    const t = span.tracklet;
    this.tip.tell(span.element, `${this.title.textContent} at ${words.place(t)}`, [
      `${t.modality === "visible" ? "Visible" : "Infrared"}, ${words.between(t.seen_from, t.seen_at)}, ${words.several(t.sighting_count, "sighting")}`,
      words.why(t)]);
  }
}

function place(element, start, end) {
  element.style.left = `${start}px`;
  element.style.width = `${Math.max(0, end - start)}px`;
}
