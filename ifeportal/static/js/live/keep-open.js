/* What the reader has opened stays open when <live-page> replaces a part of the page; told apart by the id. */

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
