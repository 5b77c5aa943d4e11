// Everybody, a page at a time: the list may hold a hundred thousand, and only what is in view is asked for.

import { ask, query } from "./ask.js";

export const PAGE = 60;
const KEPT = 24;    // pages

export class Roll {
  // Arrived: called when more is here than was.
  constructor(arrived) {
    this.arrived = arrived;
    this.reset({});
  }

  // Another question: nothing of the last one holds.
  reset(filter) {
    Object.assign(this, { filter, pages: new Map(), asked: new Set(), head: null, round: (this.round ?? 0) + 1 });
  }

  // The same question at another moment: what is here stays until it is asked for anew.
  later(filter) {
    const [a, b] = [this.filter, filter].map((each) => JSON.stringify({ ...each, seen_since: each.seen_since !== null }));
    if (a === b) this.filter = filter;
    else this.reset(filter);
  }

  get found() {
    return this.head?.found ?? 0;
  }

  at(index) {
    return this.pages.get(Math.floor(index / PAGE))?.[index % PAGE];
  }

  // Ask for what is missing between two rows; anew: for all of it, and what lies elsewhere is forgotten. What is here
  // stays until the answer is.
  async need(from, to, { anew = false } = {}) {
    const [first, last] = [Math.floor(from / PAGE), Math.floor(Math.max(from, to) / PAGE)];
    if (anew) for (const page of [...this.pages.keys()]) if (page < first || page > last) this.pages.delete(page);
    const wanted = [];
    for (let page = first; page <= last; page += 1) {
      if ((anew || !this.pages.has(page)) && !this.asked.has(page)) wanted.push(page);
    }
    await Promise.all(wanted.map((page) => this.take(page)));
  }

  async take(page) {
    const round = this.round;
    this.asked.add(page);
    try {
      const answer = await ask(`/v1/identities${query({ ...this.filter, limit: PAGE, offset: page * PAGE })}`);
      if (round !== this.round) return;
      this.head = answer;
      this.pages.delete(page);
      this.pages.set(page, answer.identities);     // the newest last
      for (const old of this.pages.keys()) {
        if (this.pages.size <= KEPT) break;
        this.pages.delete(old);
      }
      this.arrived();
    } finally {
      if (round === this.round) this.asked.delete(page);
    }
  }

  // Where somebody stands among the rows that are here; -1 where nobody knows.
  indexOf(identity) {
    for (const [page, people] of this.pages) {
      const at = people.findIndex((who) => who.identity === identity);
      if (at >= 0) return page * PAGE + at;
    }
    return -1;
  }
}
