/* The page of exports: refreshes the list while a file is being prepared. */

const INTERVAL = 2000; // milliseconds

async function refresh() {
  const list = document.querySelector("#exports");
  if (!list?.hasAttribute("data-unfinished")) return;
  try {
    const response = await fetch(location.href, { headers: { Accept: "text/html" } });
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    const newer = page.querySelector("#exports");
    if (response.ok && newer && !list.contains(document.activeElement)) list.replaceWith(newer);
  } catch (error) {
    console.info("the list of exports was not refreshed", error);
  }
  setTimeout(refresh, INTERVAL);
}

setTimeout(refresh, INTERVAL);
