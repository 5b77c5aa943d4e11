// Identities as lanes over the time of the footage, however many: only rows in view are there. Rows and bars are kept
// and moved, never rebuilt, so focus and tooltips survive every update.

import { Lane } from "./lane.js";
import * as words from "./words.js";

const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 43200, 86400, 604800];
const SPARE = 6;    // rows beyond the edges

export class Lanes {
  // Box: what scrolls. List: its one child, as high as all rows. Roll: who there is. Open: see lane.js.
  constructor({ box, list, axis, roll, tip, open }) {
    Object.assign(this, { box, list, axis, roll, tip, open });
    Object.assign(this, { rows: new Map(), from: 0, to: 1, height: 50, width: 600, held: null, due: 0 });
    list.addEventListener("keydown", (event) => this.move(event));
    box.addEventListener("scroll", () => this.soon(), { passive: true });
  }

  // From, to: the stretch of time shown, in epoch seconds.
  draw(from, to) {
    this.from = from;
    this.to = to;
    const style = getComputedStyle(this.list);
    this.height = parseFloat(style.getPropertyValue("--row")) || 50;
    this.list.style.height = `${this.roll.found * this.height}px`;
    this.width = Math.max(40, this.list.clientWidth - (parseFloat(style.getPropertyValue("--name")) || 0));
    this.ticks();
    this.hold();
    this.fill();
  }

  // At most once a frame.
  soon() {
    this.due ||= requestAnimationFrame(() => {
      this.due = 0;
      this.fill();
    });
  }

  get view() {
    const first = Math.floor(this.box.scrollTop / this.height);
    return [first, Math.min(this.roll.found, first + Math.ceil(this.box.clientHeight / this.height) + 1)];
  }

  // Whoever scrolled down keeps in view whom they were looking at, when others come in above.
  hold() {
    const index = this.held === null ? -1 : this.roll.indexOf(this.held.identity);
    if (index >= 0 && index !== this.held.index) this.box.scrollTop += (index - this.held.index) * this.height;
  }

  fill() {
    const [first, last] = this.view;
    const [start, end] = [Math.max(0, first - SPARE), Math.min(this.roll.found, last + SPARE)];
    this.roll.need(start, end).catch(() => {});
    const kept = new Map();
    for (let index = start; index < end; index += 1) {
      const who = this.roll.at(index);
      if (who && !kept.has(who.identity)) kept.set(who.identity, [index, who]);
    }
    for (const [identity, row] of this.rows) {
      // A row that has the focus stays until it is elsewhere.
      if (kept.has(identity) || row.element.contains(document.activeElement)) continue;
      row.element.remove();
      this.rows.delete(identity);
    }
    let before = null;
    for (const [identity, [index, who]] of kept) {
      const row = this.rows.get(identity) ?? this.row(identity);
      row.fill(who, this.from, this.to, this.width);
      row.stand(index, this.height, this.roll.found);
      const next = before ? before.nextElementSibling : this.list.firstElementChild;
      if (row.element !== next) this.list.insertBefore(row.element, next);
      before = row.element;
    }
    const top = this.roll.at(first);
    this.held = this.box.scrollTop > 0 && top ? { identity: top.identity, index: first } : null;
    this.stop();
  }

  row(identity) {
    const row = new Lane(identity, this.open, this.tip);
    this.rows.set(identity, row);
    return row;
  }

  // One row can be reached by Tab; arrows go on from there.
  stop(chosen) {
    const active = chosen ?? [...this.rows.values()].find((row) => row.element.contains(document.activeElement));
    const [first] = this.view;
    const one = active ?? [...this.rows.values()].sort((a, b) => a.index - b.index).find((row) => row.index >= first);
    for (const row of this.rows.values()) {
      const wanted = row === one ? 0 : -1;
      if (row.name.tabIndex !== wanted) row.name.tabIndex = wanted;
    }
  }

  ticks() {
    const { from, to } = this;
    const { width } = this;
    this.axis.style.width = `${width}px`;
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
    this.list.style.setProperty("--step", `${width * step / (to - from)}px`);
    this.list.style.setProperty("--offset", marks.length ? `${width * (marks[0] - from) / (to - from)}px` : "0px");
  }

  // Arrows: up and down between people, left and right along one. Home and End: the first and the last of all.
  async move(event) {
    const row = [...this.rows.values()].find((each) => each.element.contains(event.target));
    if (!row) return;
    const at = row.stops.indexOf(event.target);
    const rows = Math.max(1, Math.floor(this.box.clientHeight / this.height) - 1);
    const down = { ArrowDown: 1, ArrowUp: -1, PageDown: rows, PageUp: -rows, Home: -Infinity, End: Infinity }[event.key];
    if (event.key === "ArrowRight" || event.key === "ArrowLeft") {
      event.preventDefault();
      row.stops[at + (event.key === "ArrowRight" ? 1 : -1)]?.focus();
    } else if (down) {
      event.preventDefault();
      await this.go(Math.min(Math.max(row.index + down, 0), this.roll.found - 1));
    }
  }

  // Bring a row into view and put the focus on its name.
  async go(index) {
    const [top, bottom] = [index * this.height, (index + 1) * this.height];
    if (top < this.box.scrollTop) this.box.scrollTop = top;
    else if (bottom > this.box.scrollTop + this.box.clientHeight) this.box.scrollTop = bottom - this.box.clientHeight;
    await this.roll.need(index, index);
    this.held = null;
    this.fill();
    const row = [...this.rows.values()].find((each) => each.index === index);
    row?.name.focus({ preventScroll: true });
    row?.name.scrollIntoView({ block: "nearest" });     // the window may be lower than the box
    this.stop(row);
  }
}
