// The name at the top: index.html has the same, so that the first thing that is seen does not move when the page is there.

import { html } from "./html.js";
import { S } from "./strings.js";

export const brand = () => html`<h1><img src="page/icon.svg" alt="" width="28" height="28" />${S.name}</h1>`;
