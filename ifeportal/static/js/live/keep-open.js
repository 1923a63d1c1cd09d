/* Keeps <details> with an id open or closed when <live-page> replaces a part of the page. */

const page = document.querySelector("live-page");
const opened = new Map();

page?.addEventListener(
  "toggle",
  ({ target }) => {
    if (target.localName === "details" && target.id && target.isConnected) opened.set(target.id, target.open);
  },
  true,
);
page?.addEventListener("live:swapped", () => {
  for (const [id, open] of opened) {
    const details = document.getElementById(id);
    if (details) details.open = open;
  }
});
