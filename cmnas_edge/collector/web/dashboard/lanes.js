// Identities as lanes over the time of the footage: one row a probable person, one bar an appearance.
// Rows and bars are kept and moved, never rebuilt, so focus and tooltips survive every update.

import * as words from "./words.js";

const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 43200, 86400, 604800];

export class Lanes {
  constructor(list, axis, tip, open) {
    this.list = list;
    this.axis = axis;
    this.tip = tip;
    this.open = open;
    this.rows = new Map();
    list.addEventListener("keydown", (event) => this.move(event));
    window.addEventListener("scroll", () => this.hush(), { passive: true });
  }

  // People: in the order shown. From, to: the stretch of time shown, in epoch seconds.
  draw(people, from, to) {
    this.ticks(from, to);
    const order = people;
    const kept = new Set(order.map((who) => who.identity));
    for (const [identity, row] of this.rows) {
      if (!kept.has(identity)) {
        row.lane.remove();
        this.rows.delete(identity);
      }
    }
    order.forEach((who, index) => {
      const row = this.rows.get(who.identity) ?? this.row(who.identity);
      this.fill(row, who, from, to);
      if (this.list.children[index] !== row.lane) this.list.insertBefore(row.lane, this.list.children[index] ?? null);
      row.name.tabIndex = index === 0 ? 0 : -1;
    });
    const active = document.activeElement;
    if (active?.classList.contains("name") && this.list.contains(active)) {
      for (const row of this.rows.values()) row.name.tabIndex = row.name === active ? 0 : -1;
    }
  }

  row(identity) {
    const lane = words.make("li", "lane");
    const name = lane.appendChild(words.make("button", "name"));
    name.type = "button";
    const title = name.appendChild(words.make("b", "", words.person(identity)));
    const small = name.appendChild(words.make("small"));
    const strip = lane.appendChild(words.make("div", "strip"));
    const thread = strip.appendChild(words.make("div", "thread"));
    name.addEventListener("click", () => this.open(identity));
    const row = { identity, lane, name, title, small, strip, thread, spans: new Map() };
    this.rows.set(identity, row);
    return row;
  }

  fill(row, who, from, to) {
    const where = who.cameras.length === 1 ? who.tracklets[0].camera : words.several(who.cameras.length, "camera");
    words.put(row.small, `${where}${who.modalities.length > 1 ? ", both lights" : ""}`);
    const share = (time) => 100 * (time - from) / (to - from);
    const place = (element, start, end) => {
      element.style.left = `${share(start)}%`;
      element.style.width = `${Math.max(0, share(end) - share(start))}%`;
    };
    place(row.thread, Math.max(from, who.seen_from), Math.min(to, who.seen_at));
    const width = row.strip.clientWidth || 600;
    const pixel = (time) => width * (time - from) / (to - from);
    const kept = new Set();
    for (const tracklet of who.tracklets) {
      if (tracklet.seen_at < from || tracklet.seen_from > to) continue;
      kept.add(tracklet.id);
      const span = row.spans.get(tracklet.id) ?? this.span(row, tracklet.id);
      span.tracklet = tracklet;
      place(span.element, Math.max(from, tracklet.seen_from), Math.min(to, tracklet.seen_at));
      span.element.className = `span ${tracklet.modality}${pixel(tracklet.seen_at) - pixel(tracklet.seen_from) < 30 ? " short" : ""}`;
      span.element.setAttribute("aria-label",
        `${tracklet.camera}, ${tracklet.modality}, ${words.between(tracklet.seen_from, tracklet.seen_at)}. ${words.why(tracklet)}`);
    }
    for (const [id, span] of row.spans) {
      if (!kept.has(id)) {
        span.element.remove();
        span.beside.remove();
        row.spans.delete(id);
      }
    }
    row.order = [...row.spans.values()].sort((a, b) => a.tracklet.seen_from - b.tracklet.seen_from);
    // A camera's name stands in its bar, or beside it where there is room, or only in the tooltip.
    row.order.forEach((span, index) => {
      const { camera, seen_from, seen_at } = span.tracklet;
      const [start, end] = [pixel(Math.max(from, seen_from)), Math.max(pixel(seen_from) + 8, pixel(seen_at))];
      const next = row.order[index + 1];
      const needed = 20 + 7.2 * camera.length;
      const inside = end - start >= needed;
      words.put(span.label, inside ? camera : "");
      words.put(span.beside, !inside && who.cameras.length > 1 && (next ? pixel(next.tracklet.seen_from) : width) - end >= needed ? camera : "");
      span.beside.style.left = `${100 * end / width}%`;
    });
  }

  span(row, id) {
    const element = row.strip.appendChild(words.make("button", "span"));
    element.type = "button";
    element.tabIndex = -1;
    const beside = row.strip.appendChild(words.make("span", "beside"));
    beside.setAttribute("aria-hidden", "true");
    const span = { element, beside, label: element.appendChild(words.make("i")), tracklet: null };
    element.addEventListener("click", () => this.open(row.identity, span.tracklet));
    element.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && this.tell(span, row));
    element.addEventListener("pointerleave", () => this.hush());
    element.addEventListener("focus", () => element.matches(":focus-visible") && this.tell(span, row));
    element.addEventListener("blur", () => this.hush());
    row.spans.set(id, span);
    return span;
  }

  ticks(from, to) {
    const width = this.axis.clientWidth || 600;
    const step = STEPS.find((s) => width * s / (to - from) >= 84) ?? STEPS.at(-1);
    const shift = new Date(from * 1000).getTimezoneOffset() * 60;
    const marks = [];
    for (let time = Math.ceil((from - shift) / step) * step + shift; time <= to; time += step) marks.push(time);
    this.axis.replaceChildren(...marks.map((time) => {
      const share = (time - from) / (to - from);
      const mark = words.make("span", "", step >= 86400 ? words.date(time) : step >= 60 ? words.minute(time) : words.at(time));
      mark.style.left = `${100 * share}%`;
      if (share * width < 34) mark.style.transform = "none";
      if ((1 - share) * width < 34) mark.style.transform = "translateX(-100%)";
      return mark;
    }));
    // The grid behind the lanes: a line at every tick.
    const pixels = width * step / (to - from);
    this.list.style.setProperty("--step", `${pixels}px`);
    this.list.style.setProperty("--offset", marks.length ? `${width * (marks[0] - from) / (to - from)}px` : "0px");
  }

  tell(span, row) {
    const t = span.tracklet;
    this.tip.replaceChildren(
      words.make("b", "", `${row.title.textContent} at ${t.camera}`),
      words.make("span", "", `${t.modality === "visible" ? "Visible" : "Infrared"}, ${words.between(t.seen_from, t.seen_at)}, ` +
        words.several(t.sighting_count, "sighting")),
      words.make("span", "", words.why(t)));
    this.tip.hidden = false;
    const box = span.element.getBoundingClientRect();
    const own = this.tip.getBoundingClientRect();
    const left = Math.min(Math.max(8, box.left + box.width / 2 - own.width / 2), window.innerWidth - own.width - 8);
    const above = box.top - own.height - 9;
    this.tip.style.left = `${left}px`;
    this.tip.style.top = `${above > 8 ? above : box.bottom + 9}px`;
  }

  hush() {
    this.tip.hidden = true;
  }

  // Arrows: up and down between people, left and right along one.
  move(event) {
    const lane = event.target.closest(".lane");
    const row = [...this.rows.values()].find((each) => each.lane === lane);
    if (!row) return;
    const stops = [row.name, ...row.order.map((span) => span.element)];
    const here = stops.indexOf(event.target);
    let next = null;
    if (event.key === "ArrowRight") next = stops[here + 1];
    else if (event.key === "ArrowLeft") next = stops[here - 1];
    else if (event.key === "ArrowDown") next = lane.nextElementSibling?.querySelector(".name");
    else if (event.key === "ArrowUp") next = lane.previousElementSibling?.querySelector(".name");
    else if (event.key === "Home") next = this.list.querySelector(".name");
    else if (event.key === "End") next = this.list.lastElementChild?.querySelector(".name");
    if (!next) return;
    event.preventDefault();
    next.focus();
    if (next.classList.contains("name")) {
      for (const each of this.rows.values()) each.name.tabIndex = each.name === next ? 0 : -1;
    }
  }
}
