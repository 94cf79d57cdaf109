// Requests to this worker, with the token, and what their refusals mean. Addresses are relative to the page, so that
// it works behind a proxy with a path of its own.

import { keepToken, online, refused, token } from "./state.js";
import { S } from "./strings.js";

/** What the worker answered in place of what was asked; status 0: it did not answer. */
export class Refusal extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

export const address = (path) => new URL(path.replace(/^\//, ""), document.baseURI).href;
export const authorization = () => ({ Authorization: `Bearer ${token.value}` });

/** The response, if it is a good one. Raises Refusal; a 401 asks for the token again. */
export async function ask(path, { headers = {}, json, ...options } = {}) {
  const used = token.value;
  const sent = { ...authorization(), ...headers };
  if (json !== undefined) {
    sent["Content-Type"] = "application/json";
    options.body = JSON.stringify(json);
  }
  let response;
  try {
    response = await fetch(address(path), { cache: "no-store", referrerPolicy: "no-referrer", ...options, headers: sent });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    online.value = false;
    throw new Refusal(0, "OFFLINE", S.offline);
  }
  online.value = true;
  if (response.ok) return response;
  const refusal = await refusalOf(response);
  if (response.status === 401) askAgain(refusal.message, used);
  throw refusal;
}

export const askJson = async (path, options) => (await ask(path, options)).json();

/** Forget a token that is not good any more, and say why; not the one that somebody has typed since. */
export function askAgain(message, used) {
  if (!used || used !== token.value) return;
  refused.value = message;
  keepToken("");
}

async function refusalOf(response) {
  try {
    const { error } = await response.json();
    return new Refusal(response.status, error.code, error.message);
  } catch {
    return new Refusal(response.status, "", S.refused(response.status));
  }
}
