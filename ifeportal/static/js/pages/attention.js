/* The attention page: reloads when a load starts or stops needing attention, or its reason changes. */

const page = document.querySelector("live-page");
const lastReasons = new Map(); // load id → last known reasons

function reasonsOf(state) {
  if (state.status === "failed") return `failed ${state.error_code}`;
  return [state.state, state.at_risk, state.contradiction].join(" ");
}

function needsAttention(state) {
  return ["failed", "stalled", "silent", "contradiction"].includes(state.state) || state.at_risk || Boolean(state.contradiction);
}

page?.addEventListener("live:changes", (event) => {
  for (const { topic, object, state } of event.detail.changes) {
    if (topic !== "load" || !state?.status) continue;
    const shown = Boolean(page.querySelector(`[data-key="load:${object}"]`));
    const before = lastReasons.get(object);
    lastReasons.set(object, reasonsOf(state));
    if (before !== undefined ? before !== reasonsOf(state) : shown !== Boolean(needsAttention(state))) page.refresh();
  }
});
