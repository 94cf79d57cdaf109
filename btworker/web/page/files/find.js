// Finding in the text: of a long transcript only what is near the window is in the document, so that the browser's own
// search would miss the rest.

import { html } from "./html.js";
import { useRef, useState } from "./preact-hooks.js";
import { rows } from "./rows.js";
import { active } from "./state.js";
import { S } from "./strings.js";
import { reveal } from "./transcript.js";

export function Find() {
  const field = useRef();
  const [found, setFound] = useState({ text: "", places: [], at: 0 });
  const go = (places, at) => {
    if (!places.length) return;
    active.value = rows.value[places[at]].number;
    reveal(places[at]);
  };
  const look = () => {
    const text = field.current.value.trim().toLowerCase();
    const places = text ? placesOf(text) : [];
    setFound({ text, places, at: 0 });
    go(places, 0);
  };
  const pressed = (event) => {
    if (event.key === "Escape") return void ((field.current.value = ""), look(), field.current.blur());
    if (event.key !== "Enter" || !found.places.length) return;
    const at = (found.at + (event.shiftKey ? -1 : 1) + found.places.length) % found.places.length;
    setFound({ ...found, at });
    go(found.places, at);
  };
  return html`
    <div class="find">
      <input ref=${field} id="find" type="search" aria-label=${S.find} placeholder=${S.find} onInput=${look} onKeyDown=${pressed} />
      <span class="quiet" role="status">${found.text && S.foundAt(found.at + 1, found.places.length)}</span>
    </div>`;
}

const placesOf = (text) =>
  rows.value.flatMap((row, at) => (!row.missing && row.text.toLowerCase().includes(text) ? [at] : []));
