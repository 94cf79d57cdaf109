// Templates without a build step: html`<p>${text}</p>`. What stands in ${} is always text, never HTML.

import { h } from "./preact.js";
import htm from "./htm.js";

export const html = htm.bind(h);
