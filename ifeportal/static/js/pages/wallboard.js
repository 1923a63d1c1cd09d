/* ?wall=1: what does not fit on the screen is shown one screen after the other. Space holds it and lets it go on.

   The parts of what carries data-rotate are shown some at a time: as many as fit, at least one. Nothing slides: one
   screen is cut to the next, and a bar says which it is. */

const EACH = 12000; // milliseconds

class Wall {
  constructor(page) {
    this.page = page;
    this.from = 0;
    this.held = false;
    this.place = document.createElement("p");
    this.place.className = "wall-place";
    document.body.append(this.place);
    setInterval(() => this.held || document.hidden || this.turn(), EACH);
    addEventListener("resize", () => this.show());
    page.addEventListener("live:swapped", () => this.show());
    document.addEventListener("keydown", (event) => {
      if (event.key !== " ") return;
      event.preventDefault();
      this.held = !this.held;
      this.show();
    });
    this.show();
  }

  parts() {
    const list = this.page.querySelector("[data-rotate]");
    return list ? [...list.children].filter((part) => part.matches("[data-key]")) : [];
  }

  turn() {
    this.from = this.to;
    this.show();
  }

  show() {
    const parts = this.parts();
    if (this.from >= parts.length) this.from = 0;
    for (const part of parts) part.hidden = true;
    this.to = this.from;
    while (this.to < parts.length) {
      parts[this.to].hidden = false;
      if (this.to > this.from && document.documentElement.scrollHeight > innerHeight) {
        parts[this.to].hidden = true;
        break;
      }
      this.to += 1;
    }
    const all = this.from === 0 && this.to >= parts.length;
    const held = this.held ? " · paused, press Space to continue" : "";
    this.place.textContent = all ? "" : `${this.from + 1}–${this.to} of ${parts.length}${held}`;
  }
}

const page = document.querySelector("live-page");
if (page) new Wall(page);
