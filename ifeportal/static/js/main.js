/* Script of every page: theme switch, menus, notices, live figures. Pages are complete without it. */

import "./live/live-page.js";
import "./components/toasts.js";

const THEMES = ["", "light", "dark"];
const NAMES = { "": "system", light: "light", dark: "dark" };

function showTheme(button, theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
  button.querySelector("[data-theme-name]").textContent = NAMES[theme];
  button.title = `Theme: ${NAMES[theme]}`;
}

// The server reads the cookie and sets data-theme, so that the page is never drawn in the wrong colours first.
const button = document.querySelector("[data-theme-switch]");
if (button) {
  let theme = document.documentElement.dataset.theme ?? "";
  showTheme(button, theme);
  button.hidden = false;
  button.addEventListener("click", () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    document.cookie = `theme=${theme}; path=/; max-age=${theme ? 31536000 : 0}; samesite=lax`;
    showTheme(button, theme);
  });
}

// Escape, and a click outside, close an open menu.
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  const menu = document.querySelector("details.menu[open]");
  if (!menu) return;
  menu.open = false;
  menu.querySelector("summary").focus();
});
document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
});

// A select that submits its form on change; its button is only for pages without JavaScript.
for (const select of document.querySelectorAll("select[data-submits]")) select.form.querySelector("button").hidden = true;
document.addEventListener("change", (event) => {
  if (event.target.matches("select[data-submits]")) event.target.form.requestSubmit();
});

// Makes the portal installable, and shows a page of its own without a network. Browsers allow it in secure contexts only.
if ("serviceWorker" in navigator && isSecureContext) {
  addEventListener("load", () => {
    navigator.serviceWorker.register("/sw.js").catch((error) => console.info("no service worker", error));
  });
}
