// What the collector says by itself: that something changed. A page asks again when it hears so.
//
// A stream is opened anew when it breaks, when nothing is heard for three beats (a laptop that slept has a stream
// that looks whole and is dead), and when somebody comes back to the page. Pages nobody looks at hold none: a browser
// has six connections to one host. Where no stream can be had, the page is told to ask every few seconds.

const SILENT_MS = 32000;
const AGAIN_MS = 5000;

export class Live {
  // Heard: called whenever an answer may be another, with what was heard ("change", "beat", "poll").
  constructor(path, heard, { Source = EventSource, now = () => Date.now(), page = document } = {}) {
    Object.assign(this, { path, heard, Source, now, page, source: null, last: 0, version: null });
    page.addEventListener("visibilitychange", () => (page.hidden ? this.close() : this.open()));
    setInterval(() => this.watch(), AGAIN_MS);
    if (!page.hidden) this.open();
  }

  open() {
    this.close();
    this.last = this.now();
    const source = new this.Source(this.path);
    this.source = source;
    source.addEventListener("change", (event) => this.note(source, event, "change"));
    source.addEventListener("beat", (event) => this.note(source, event, "beat"));
    source.addEventListener("over", () => location.assign("/log-in"));
    source.addEventListener("error", () => this.source === source && this.heard("poll"));
  }

  close() {
    this.source?.close();
    this.source = null;
  }

  note(source, event, kind) {
    if (source !== this.source) return;
    this.last = this.now();
    const { version } = JSON.parse(event.data);
    const moved = version !== this.version;
    this.version = version;
    this.heard(moved ? "change" : kind);
  }

  // Called every few seconds. A timer that slept notices here how late it is.
  watch() {
    if (this.page.hidden) return;
    const closed = !this.source || this.source.readyState === 2;
    if (closed || this.now() - this.last > SILENT_MS) {
      this.open();
      this.heard("poll");
    }
  }
}
