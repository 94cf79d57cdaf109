// Asking for the token, once a tab.

import { address } from "./api.js";
import { brand } from "./brand.js";
import { html } from "./html.js";
import { useLayoutEffect, useRef, useState } from "./preact-hooks.js";
import { keepToken, refused } from "./state.js";
import { S } from "./strings.js";

export function Login() {
  const field = useRef();
  const [busy, setBusy] = useState(false);
  useLayoutEffect(() => field.current.focus(), []);
  const enter = async (event) => {
    event.preventDefault();
    setBusy(true);
    refused.value = "";
    const token = field.current.value.trim();
    refused.value = await mistakeIn(token);
    setBusy(false);
    if (!refused.value) keepToken(token);
    else field.current.select();
  };
  return html`
    <header class="top">${brand()}</header>
    <main class="login">
      <form onSubmit=${enter}>
        <h2>${S.welcome}</h2>
        <label for="token">${S.token}</label>
        <input id="token" ref=${field} type="password" required autocomplete="off" spellcheck="false"
          aria-describedby="token-help token-mistake" aria-invalid=${refused.value ? "true" : undefined} />
        <p id="token-mistake" class="mistake" role="alert">${refused.value}</p>
        <p id="token-help" class="quiet">${S.tokenNeeded} ${S.tokenKept}</p>
        <button class="primary" disabled=${busy}>${S.enter}</button>
      </form>
    </main>`;
}

/** Why the worker does not take a token; "" where it does. */
async function mistakeIn(token) {
  try {
    const response = await fetch(address("v1/preflight"), { headers: { Authorization: `Bearer ${token}` } });
    if (response.ok) return "";
    const { message } = (await response.json()).error;
    return response.status === 401 && !message.startsWith("the key") ? S.wrongToken : message;
  } catch {
    return S.offline;
  }
}
