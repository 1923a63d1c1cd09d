// Keeps the page of a draft current while jobs and other people change it. Without JavaScript the page is complete.

const BUSY_INTERVAL = 2000; // milliseconds between two requests while a job works
const IDLE_INTERVAL = 5000; // milliseconds otherwise
const LONGEST_INTERVAL = 30000; // milliseconds, while the portal does not answer
const LIVE_PARTS = ["draft-steps", "draft-next", "draft-buttons", "draft-problems"];
const PATIENCE = 2; // failed requests before the page says so

let failures = 0;
let edited = document.getElementById("draft-errors-title") !== null; // the form has values that are not saved

function live() {
  return document.querySelector("[data-draft-state]");
}

async function fetchPage(address) {
  const response = await fetch(address, { credentials: "same-origin", redirect: "error" });
  if (!response.ok) throw new Error(response.statusText);
  return new DOMParser().parseFromString(await response.text(), "text/html");
}

// Replaces an element unless it shows the same, a menu in it is open, or a pressed button waits for its answer.
function replace(shown, next) {
  if (!shown || !next || shown.isEqualNode(next) || shown.querySelector("details[open]")) return;
  const focused = shown.contains(document.activeElement) ? document.activeElement : null;
  const place = focused && [focused.tagName, focused.getAttribute("value") ?? focused.getAttribute("href") ?? ""];
  const fresh = document.adoptNode(next);
  shown.replaceWith(fresh);
  if (!place) return;
  const same = [...fresh.querySelectorAll(place[0])].find((each) => (each.getAttribute("value") ?? each.getAttribute("href") ?? "") === place[1]);
  (same ?? fresh.querySelector("a, button, summary"))?.focus();
}

async function refresh() {
  const shown = live();
  if (!shown) return;
  if (!document.hidden) {
    try {
      const page = await fetchPage(shown.dataset.src);
      const next = page.querySelector("[data-draft-state]");
      if (!next) throw new Error("unexpected page");
      await update(shown, next, page);
      failures = 0;
    } catch {
      failures += 1;
    }
    document.getElementById("draft-offline").hidden = failures < PATIENCE;
  }
  const usual = live().hasAttribute("data-busy") ? BUSY_INTERVAL : IDLE_INTERVAL;
  setTimeout(refresh, Math.min(usual * 2 ** failures, LONGEST_INTERVAL));
}

async function update(shown, next, page) {
  announce(page);
  const changed = shown.dataset.revision !== next.dataset.revision;
  if (changed && !edited && !editing()) {
    // The form shows what changed, so the whole page is replaced, at the same scroll position.
    const whole = await fetchPage(location.pathname);
    if (!edited) replaceWhole(whole);
    return;
  }
  if (changed && edited) document.getElementById("draft-changed").hidden = false;
  for (const id of LIVE_PARTS) replace(document.getElementById(id), page.getElementById(id));
  shown.dataset.draftState = next.dataset.draftState;
  shown.toggleAttribute("data-busy", next.hasAttribute("data-busy"));
}

// Says the next step to screen readers when it changes; progress is not read out every two seconds.
function announce(page) {
  const text = page.querySelector("#draft-next h2")?.textContent ?? "";
  if (text !== document.querySelector("#draft-next h2")?.textContent) document.getElementById("draft-status").textContent = text;
}

// Whether the cursor is in a field of the form: replacing the form would take it away.
function editing() {
  const focused = document.activeElement;
  return focused?.form?.id === "draft_form" && focused.matches("input, select, textarea");
}

function replaceWhole(page) {
  const next = page.querySelector(".draft-page");
  const shown = document.querySelector(".draft-page");
  if (!next) {
    location.reload();
    return;
  }
  keepUploads(shown, next);
  replace(shown, next);
  // What was requested is done; warnings stay.
  for (const message of document.querySelectorAll("main > .notes > .note:not(.warn, .bad)")) message.remove();
  const [title, heading] = [page.querySelector("h1"), document.querySelector("h1")];
  if (title && heading) heading.textContent = title.textContent;
}

// Moves the element that sends files into the new page, so that it goes on sending.
function keepUploads(shown, next) {
  const uploads = shown.querySelector("file-uploads");
  if (!shown.querySelector("details[open]")) next.querySelector("file-uploads")?.replaceWith(...[uploads].filter(Boolean));
}

document.addEventListener("input", (event) => {
  if (event.target.form?.id !== "draft_form") return;
  edited = true;
  showPrefix();
});
document.addEventListener("click", (event) => {
  if (event.target.closest("#draft-changed button")) location.reload();
});

// On the page of a new draft: where the items of the campaign must lie.
function showPrefix() {
  const prefix = document.querySelector("[data-prefix]");
  const airline = document.getElementById("id_airline");
  const name = document.getElementById("id_name");
  if (!prefix || !airline || !name) return;
  const chosen = airline.value ? airline.selectedOptions[0].textContent.trim() : "airline";
  prefix.textContent = `${chosen}/${name.value.trim() || "campaign"}/`;
}

showPrefix();
setTimeout(refresh, BUSY_INTERVAL);
