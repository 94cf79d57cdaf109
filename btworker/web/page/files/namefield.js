// A speaker's name, which becomes a field when it is pressed: type, Enter, done everywhere.

import { correct } from "./corrections.js";
import { html } from "./html.js";
import { useLayoutEffect, useRef, useState } from "./preact-hooks.js";
import { colours, nameOf } from "./rows.js";
import { finished, layer } from "./state.js";
import { S } from "./strings.js";

export function NameField({ voice }) {
  const [isOpen, setOpen] = useState(false);
  const name = nameOf(voice);
  const label = html`<i class="dot" data-voice=${colours.value.get(voice)} /><bdi>${name}</bdi>`;
  if (!finished.value) return html`<span class="name">${label}</span>`;
  if (isOpen) return html`<${Input} voice=${voice} close=${() => setOpen(false)} />`;
  return html`<button type="button" class="name" title=${S.rename} aria-label=${S.renameOf(name)} onClick=${() => setOpen(true)}>${label}</button>`;
}

function Input({ voice, close }) {
  const field = useRef();
  const settled = useRef(false);
  const known = layer.value.names[voice] ?? "";
  useLayoutEffect(() => (field.current.focus(), field.current.select(), undefined), []);
  const settle = (keeps) => {
    if (settled.current) return;
    settled.current = true;
    const name = field.current.value.trim();
    close();
    if (keeps && name !== known) correct({ op: "name", speaker: voice, name: name || null });
  };
  const pressed = (event) => {
    if (event.isComposing || !["Enter", "Escape"].includes(event.key)) return;
    event.preventDefault();
    event.stopPropagation();
    settle(event.key === "Enter");
  };
  return html`
    <input ref=${field} class="name" maxlength="100" dir="auto" autocomplete="off" aria-label=${S.nameOf(voice)} placeholder=${voice}
      defaultValue=${known} onKeyDown=${pressed} onBlur=${() => settle(true)} />`;
}
