// Editing a segment's text in place: Enter keeps it, Escape leaves it, Tab plays the last two seconds again.

import { correctIn, here } from "./corrections.js";
import { html } from "./html.js";
import { playFrom, skip } from "./playback.js";
import { useLayoutEffect, useRef, useState } from "./preact-hooks.js";
import { useSettled } from "./settled.js";
import { editing, playing } from "./state.js";
import { S } from "./strings.js";

export function TextEditor({ row }) {
  const field = useRef();
  const [begun] = useState(() => ({ place: here(), text: row.text }));
  const typed = useRef(row.text);
  useLayoutEffect(() => {
    fit(field.current);
    field.current.focus();
    field.current.setSelectionRange(row.text.length, row.text.length);
  }, []);
  const settle = useSettled((keeps, byKey) => {
    const text = typed.current.trim().replace(/\s+/g, " ");
    if (editing.value === row.number) editing.value = -1;
    if (byKey) document.querySelector(".transcript")?.focus({ preventScroll: true });
    if (keeps && text !== begun.text) correctIn(begun.place, { op: "text", segment: row.number, text });
  });
  const pressed = (event) => {
    const act = { Enter: () => settle(true, true), Escape: () => settle(false, true), Tab: () => again(row) }[event.key];
    if (!act || event.isComposing || (event.key === "Tab" && event.shiftKey)) return;
    event.preventDefault();
    event.stopPropagation();
    act();
  };
  const changed = () => {
    typed.current = field.current.value;
    fit(field.current);
  };
  return html`
    <textarea ref=${field} class="editor" rows="1" dir="auto" maxlength="10000" aria-label=${S.editText}
      aria-describedby="edit-hint" defaultValue=${begun.text} onKeyDown=${pressed} onInput=${changed} onBlur=${() => settle(true)} />
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
