/* The activity page: forms that cancel and retry change the list in place instead of loading the page again. */

const page = document.querySelector("live-page");

/** Show the messages of the response above the page. */
function showMessages(response) {
  const main = document.querySelector("main");
  main.querySelector(":scope > .notes")?.remove();
  const notes = response.querySelector("main > .notes");
  if (notes) main.prepend(document.adoptNode(notes));
}

async function send(form) {
  const response = await fetch(form.action, { method: "POST", body: new FormData(form), credentials: "same-origin" });
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
  if (!response.ok || !fresh.querySelector("live-page")) throw new Error(`status ${response.status}`);
  form.closest("details")?.removeAttribute("open");
  showMessages(fresh);
  page.swap(fresh);
}

page?.addEventListener("submit", async (event) => {
  const form = event.target;
  if (!form.matches("form[data-in-place]")) return;
  event.preventDefault();
  const button = form.querySelector("button");
  button.disabled = true;
  try {
    await send(form);
  } catch (error) {
    console.info("the form is sent again as a page", error);
    form.submit(); // both actions can be repeated
  }
});
