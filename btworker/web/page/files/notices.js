// Messages at the bottom of the page, which a screen reader reads out. They go by themselves or with a button; those that
// must not be lost stay.

import { html } from "./html.js";
import { notices } from "./state.js";
import { S } from "./strings.js";

const SHOWN_MS = 8000;
let last = 0;

/** Show a message; `act` is what its button does. Returns a function that takes it away. */
export function notify(text, { action = "", act = null, ms = SHOWN_MS, stays = false } = {}) {
  const id = ++last;
  const remove = () => (notices.value = notices.value.filter((one) => one.id !== id));
  const run = () => {
    remove();
    act?.();
  };
  notices.value = [...notices.value, { id, text, action, run, remove }];
  if (!stays) setTimeout(remove, ms);
  return remove;
}

export function Notices() {
  return html`
    <div class="notices" role="status" aria-live="polite">
      ${notices.value.map(
        ({ id, text, action, run, remove }) => html`
          <div class="notice" key=${id}>
            <span>${text}</span>
            ${action && html`<button type="button" onClick=${run}>${action}</button>`}
            <button type="button" class="plain" aria-label=${S.close} onClick=${remove}>×</button>
          </div>`,
      )}
    </div>`;
}
