// The name at the top, as index.html has it, so that the first thing that is seen does not move when the page is there; and
// the sign of a recording that is sent.

import { html } from "./html.js";
import { S } from "./strings.js";

export const brand = () => html`<h1><img src="page/icon.svg" alt="" width="28" height="28" />${S.name}</h1>`;

export const sendIcon = () => html`
  <svg viewBox="0 0 24 24" width="22" height="22" aria-hidden="true"><path d="M12 16V4m0 0L7 9m5-5l5 5M4 16v4h16v-4" fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round" stroke-linejoin="round" /></svg>`;
