// A speaker's name, which becomes a field when it is pressed: type, Enter, done everywhere.

import { correctIn, here } from "./corrections.js";
import { html } from "./html.js";
import { useLayoutEffect, useRef, useState } from "./preact-hooks.js";
import { colours, nameOf } from "./rows.js";
import { useSettled } from "./settled.js";
import { finished, layer, naming } from "./state.js";
import { S } from "./strings.js";

/** `place` tells the fields of one speaker apart: state.naming is that of the open one. */
export function NameField({ voice, place }) {
  const name = nameOf(voice);
  const label = html`<i class="dot" data-voice=${colours.value.get(voice)} /><bdi>${name}</bdi>`;
  if (!finished.value) return html`<span class="name">${label}</span>`;
  if (naming.value === place) return html`<${Input} voice=${voice} place=${place} />`;
  const open = () => (naming.value = place);
  return html`<button type="button" class="name" data-place=${place} title=${S.rename} aria-label=${S.renameOf(name)} onClick=${open}>${label}</button>`;
}

function Input({ voice, place }) {
  const field = useRef();
  const [begun] = useState(() => ({ place: here(), name: layer.value.names[voice] ?? "" }));
  const typed = useRef(begun.name);
  useLayoutEffect(() => (field.current.focus(), field.current.select(), undefined), []);
  const settle = useSettled((keeps, byKey) => {
    const name = typed.current.trim();
    if (naming.value === place) naming.value = "";
    if (byKey) requestAnimationFrame(() => document.querySelector(`[data-place="${place}"]`)?.focus());
    if (keeps && name !== begun.name) correctIn(begun.place, { op: "name", speaker: voice, name: name || null });
  });
  const pressed = (event) => {
    if (event.isComposing || !["Enter", "Escape"].includes(event.key)) return;
    event.preventDefault();
    event.stopPropagation();
    settle(event.key === "Enter", true);
  };
  return html`
    <input ref=${field} class="name" maxlength="100" dir="auto" autocomplete="off" aria-label=${S.nameOf(voice)} placeholder=${voice}
      defaultValue=${begun.name} onKeyDown=${pressed} onInput=${() => (typed.current = field.current.value)} onBlur=${() => settle(true)} />`;
}
