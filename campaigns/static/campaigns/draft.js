// Renews the state of a draft while a job works on it; when the job has ended, the page is loaded anew.

const PAUSE = 2000; // milliseconds between two looks
const LONGEST = 30000; // between two looks while the portal does not answer

let pause = PAUSE;

function place() {
  return document.querySelector("[data-draft-state]");
}

async function look() {
  const now = place();
  if (!now?.hasAttribute("data-busy")) return;
  if (!document.hidden) {
    try {
      const answer = await fetch(now.dataset.src, { credentials: "same-origin", redirect: "error" });
      if (!answer.ok) throw new Error(answer.statusText);
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const next = page.querySelector("[data-draft-state]");
      if (!next?.hasAttribute("data-busy")) {
        location.reload();
        return;
      }
      if (!now.contains(document.activeElement)) now.replaceWith(document.adoptNode(next));
      pause = PAUSE;
    } catch {
      pause = Math.min(2 * pause, LONGEST);
    }
  }
  setTimeout(look, pause);
}

setTimeout(look, PAUSE);
