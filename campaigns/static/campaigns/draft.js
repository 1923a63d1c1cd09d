// Refreshes the state of a draft while a job works on it. Reloads the page when the job ends, because the form changes.

const INTERVAL = 2000; // milliseconds between two requests
const LONGEST_INTERVAL = 30000; // milliseconds, while the portal does not answer

let interval = INTERVAL;

async function refresh() {
  const shown = document.querySelector("[data-draft-state]");
  if (!shown?.hasAttribute("data-busy")) return;
  if (!document.hidden) {
    try {
      const response = await fetch(shown.dataset.src, { credentials: "same-origin", redirect: "error" });
      if (!response.ok) throw new Error(response.statusText);
      const page = new DOMParser().parseFromString(await response.text(), "text/html");
      const next = page.querySelector("[data-draft-state]");
      if (!next?.hasAttribute("data-busy")) {
        location.reload();
        return;
      }
      if (!shown.contains(document.activeElement)) shown.replaceWith(document.adoptNode(next));
      interval = INTERVAL;
    } catch {
      interval = Math.min(2 * interval, LONGEST_INTERVAL);
    }
  }
  setTimeout(refresh, interval);
}

setTimeout(refresh, INTERVAL);
