/* ?wall=1: shows a long list one screen after the other. Space pauses and continues.

   Children of the data-rotate element are shown in turn, as many as fit, at least one. Screens switch without animation. A
   label says which rows are shown. */

const SCREEN_FOR = 12000; // milliseconds

class Wall {
  constructor(page) {
    this.page = page;
    this.from = 0;
    this.paused = false;
    this.place = document.createElement("p");
    this.place.className = "wall-place";
    document.body.append(this.place);
    setInterval(() => this.paused || document.hidden || this.turn(), SCREEN_FOR);
    addEventListener("resize", () => this.show());
    page.addEventListener("live:swapped", () => this.show());
    document.addEventListener("keydown", (event) => {
      if (event.key !== " ") return;
      event.preventDefault();
      this.paused = !this.paused;
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
    const paused = this.paused ? " · paused, press Space to continue" : "";
    this.place.textContent = all ? "" : `${this.from + 1}–${this.to} of ${parts.length}${paused}`;
  }
}

const page = document.querySelector("live-page");
if (page) new Wall(page);
