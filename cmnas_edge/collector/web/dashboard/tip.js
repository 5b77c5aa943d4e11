// The one tooltip of a page: a line in bold, and more below it.

import * as words from "./words.js";

export class Tip {
  constructor() {
    this.box = document.body.appendChild(words.make("div", "tip"));
    this.box.id = "tip";
    this.box.setAttribute("role", "tooltip");
    this.box.hidden = true;
    window.addEventListener("scroll", () => this.hush(), { passive: true, capture: true });
  }

  tell(element, title, lines) {
    this.box.replaceChildren(words.make("b", "", title), ...lines.map((line) => words.make("span", "", line)));
    this.box.hidden = false;
    const box = element.getBoundingClientRect();
    const own = this.box.getBoundingClientRect();
    const left = Math.min(Math.max(8, box.left + box.width / 2 - own.width / 2), window.innerWidth - own.width - 8);
    const above = box.top - own.height - 9;
    this.box.style.left = `${Math.max(8, left)}px`;
    this.box.style.top = `${above > 8 ? above : box.bottom + 9}px`;
  }

  hush() {
    this.box.hidden = true;
  }
}
