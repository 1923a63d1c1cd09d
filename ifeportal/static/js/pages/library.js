/* The choice of library items for a campaign: select all on the page, and the sum of what is selected. */

import { FORMATS } from "../format.js";

const form = document.querySelector("form.picker");

function boxes(selector = "") {
  return [...form.querySelectorAll(`input[name=item]:not(:disabled)${selector}`)];
}

function showSum() {
  const chosen = boxes(":checked");
  const bytes = chosen.reduce((sum, box) => sum + Number(box.dataset.size), 0);
  const text = chosen.length ? `${FORMATS.count(chosen.length)} selected, ${FORMATS.size(bytes)}` : "Nothing is selected.";
  form.querySelector("[data-pick=sum]").textContent = text;
  form.querySelector("button[type=submit]").disabled = !chosen.length;
}

if (form) {
  const all = form.querySelector("[data-pick=all]");
  all.hidden = !boxes().length;
  all.addEventListener("click", () => {
    const wanted = boxes(":checked").length < boxes().length;
    for (const box of boxes()) box.checked = wanted;
    showSum();
  });
  form.addEventListener("change", showSum);
  addEventListener("pageshow", showSum); // the browser restores boxes after going back
  showSum();
}
