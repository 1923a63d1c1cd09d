/* The page of what needs attention: a load that is shown and no longer should be, or the other way round, has the page
   fetched again. What is wrong with a load is held here only as its last word. */

const page = document.querySelector("live-page");
const words = new Map(); // load → what it was last heard to need attention for

function word(state) {
  if (state.status === "failed") return `failed ${state.error_code}`;
  return [state.state, state.at_risk, state.contradiction].join(" ");
}

function isWrong(state) {
  return ["failed", "stalled", "silent", "contradiction"].includes(state.state) || state.at_risk || Boolean(state.contradiction);
}

page?.addEventListener("live:changes", (event) => {
  for (const { topic, object, state } of event.detail.changes) {
    if (topic !== "load" || !state?.status) continue;
    const shown = Boolean(page.querySelector(`[data-key="load:${object}"]`));
    const before = words.get(object);
    words.set(object, word(state));
    if (before !== undefined ? before !== word(state) : shown !== Boolean(isWrong(state))) page.refresh();
  }
});
