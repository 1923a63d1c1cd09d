/* Passkeys: a form with data-passkey requests a credential from the browser, puts it into its field and submits itself.

"sign-in" fetches the options from the form's URL; "use" and "add" read them from the element that data-options names. */

const decodeBase64url = (text) =>
  Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (character) => character.charCodeAt(0));
const encodeBase64url = (buffer) =>
  btoa(String.fromCharCode(...new Uint8Array(buffer)))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replaceAll("=", "");
const decodeIds = (credentials) => (credentials ?? []).map((each) => ({ ...each, id: decodeBase64url(each.id) }));

/** Return the credential as the JSON that django-allauth reads. */
function serialize(credential) {
  const response = {};
  for (const part of ["clientDataJSON", "attestationObject", "authenticatorData", "signature", "userHandle"]) {
    if (credential.response[part]) response[part] = encodeBase64url(credential.response[part]);
  }
  return JSON.stringify({
    id: credential.id,
    rawId: encodeBase64url(credential.rawId),
    type: credential.type,
    response,
    clientExtensionResults: credential.getClientExtensionResults(),
  });
}

function createCredential({ publicKey }, passwordless) {
  const selection = passwordless
    ? { residentKey: "required", requireResidentKey: true, userVerification: "required" }
    : { residentKey: "discouraged", requireResidentKey: false };
  return navigator.credentials.create({
    publicKey: {
      ...publicKey,
      challenge: decodeBase64url(publicKey.challenge),
      user: { ...publicKey.user, id: decodeBase64url(publicKey.user.id) },
      excludeCredentials: decodeIds(publicKey.excludeCredentials),
      authenticatorSelection: { ...publicKey.authenticatorSelection, ...selection },
    },
  });
}

function getCredential({ publicKey }) {
  return navigator.credentials.get({
    publicKey: {
      ...publicKey,
      challenge: decodeBase64url(publicKey.challenge),
      allowCredentials: decodeIds(publicKey.allowCredentials),
    },
  });
}

async function loadOptions(form) {
  if (form.dataset.options) {
    const data = JSON.parse(document.getElementById(form.dataset.options).textContent);
    return data.creation_options ?? data.request_options;
  }
  const response = await fetch(form.action, { headers: { Accept: "application/json" } });
  if (!response.ok) throw new Error(`the server responded with ${response.status}`);
  return (await response.json()).request_options;
}

async function submitCredential(form) {
  const options = await loadOptions(form);
  const credential =
    form.dataset.passkey === "add"
      ? await createCredential(options, form.elements.passwordless.checked)
      : await getCredential(options);
  form.elements.credential.value = serialize(credential);
  form.submit();
}

for (const form of document.querySelectorAll("form[data-passkey]")) {
  form.hidden = !window.PublicKeyCredential;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const error = form.querySelector("[role=alert]");
    error.hidden = true;
    submitCredential(form).catch(() => {
      error.textContent = "No passkey was used. Try again, or sign in another way.";
      error.hidden = false;
    });
  });
}
