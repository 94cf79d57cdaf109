// Editing a segment's text in place: Enter keeps it, Escape leaves it, Tab plays the last two seconds again.

import { correct } from "./corrections.js";
import { html } from "./html.js";
import { playFrom, skip } from "./playback.js";
import { useLayoutEffect, useRef } from "./preact-hooks.js";
import { editing, playing } from "./state.js";
import { S } from "./strings.js";

export function TextEditor({ row }) {
  const field = useRef();
  const settled = useRef(false);
  useLayoutEffect(() => {
    fit(field.current);
    field.current.focus();
    field.current.setSelectionRange(row.text.length, row.text.length);
  }, []);
  const close = (keeps) => {
    if (settled.current) return;
    settled.current = true;
    const text = field.current.value.trim().replace(/\s+/g, " ");
    const list = field.current.closest(".transcript");
    editing.value = -1;
    requestAnimationFrame(() => list?.querySelector(`[data-number="${row.number}"] .tools button:last-child`)?.focus());
    if (keeps && text !== row.text) correct({ op: "text", segment: row.number, text });
  };
  const pressed = (event) => {
    const act = { Enter: () => close(true), Escape: () => close(false), Tab: () => again(row) }[event.key];
    if (!act || event.isComposing || (event.key === "Tab" && event.shiftKey)) return;
    event.preventDefault();
    event.stopPropagation();
    act();
  };
  return html`
    <textarea ref=${field} class="editor" rows="1" dir="auto" maxlength="10000" aria-label=${S.editText}
      aria-describedby="edit-hint" defaultValue=${row.text} onKeyDown=${pressed} onInput=${() => fit(field.current)}
      onBlur=${() => close(true)} />
    <p class="quiet" id="edit-hint">${S.editHint}</p>`;
}

function again(row) {
  if (playing.value) skip(-2);
  else playFrom(row.start, { end: row.end });
}

function fit(field) {
  field.style.height = "auto";
  field.style.height = `${field.scrollHeight}px`;
}
