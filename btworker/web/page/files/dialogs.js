// What opens over the page: the export in every format, and the keys.

import { ask } from "./api.js";
import { html } from "./html.js";
import { printTranscript } from "./printing.js";
import { keysAreOn, setKeys } from "./keys.js";
import { notify } from "./notices.js";
import { useLayoutEffect, useRef, useState } from "./preact-hooks.js";
import { chosen, dialog, input, layer } from "./state.js";
import { S } from "./strings.js";

const FORMATS = ["docx", "txt", "srt", "vtt", "md", "json", "tsv", "rttm"];

export function Dialogs() {
  if (dialog.value === "export") return html`<${Frame} title=${S.exportTitle}><${Export} /><//>`;
  if (dialog.value === "help") return html`<${Frame} title=${S.helpTitle}><${Help} /><//>`;
  return null;
}

function Frame({ title, children }) {
  const element = useRef();
  const close = () => (dialog.value = "");
  useLayoutEffect(() => {
    const before = document.activeElement;
    element.current.showModal();
    return () => before?.focus?.();
  }, []);
  const clicked = (event) => event.target === element.current && close();
  return html`
    <dialog ref=${element} aria-labelledby="dialog-title" onClose=${close} onClick=${clicked}>
      <div class="frame">
        <header><h2 id="dialog-title" tabindex="-1" autofocus>${title}</h2>
          <button type="button" class="plain" aria-label=${S.close} onClick=${close}>×</button></header>
        ${children}
      </div>
    </dialog>`;
}

function Export() {
  const [isRaw, setRaw] = useState(false);
  const [busy, setBusy] = useState("");
  const save = async (format) => {
    setBusy(format);
    await download(format, isRaw).catch((error) => notify(S.notExported(error.message)));
    setBusy("");
  };
  return html`
    <ul class="formats">
      ${FORMATS.map((format) => html`
        <li><button type="button" disabled=${busy === format} onClick=${() => save(format)}><b>${format.toUpperCase()}</b><span>${S.formats[format]}</span></button></li>`)}
      <li><button type="button" onClick=${() => ((dialog.value = ""), setTimeout(printTranscript))}><b>PDF</b><span>${S.print}</span></button></li>
    </ul>
    ${layer.value.version > 0 && html`
      <label class="check"><input type="checkbox" checked=${isRaw} onChange=${(event) => setRaw(event.target.checked)} /> ${S.raw}</label>`}`;
}

async function download(format, isRaw) {
  const path = `v1/jobs/${chosen.value}/transcript?format=${format}&input=${input.value}&corrected=${!isRaw}`;
  const response = await ask(path);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await response.blob());
  link.download = nameFrom(response.headers.get("Content-Disposition")) ?? `transcript.${format}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

function nameFrom(disposition) {
  const [, encoded] = /filename\*=UTF-8''([^;]+)/i.exec(disposition ?? "") ?? [];
  const [, plain] = /filename="([^"]+)"/i.exec(disposition ?? "") ?? [];
  return encoded ? decodeURIComponent(encoded) : plain;
}

function Help() {
  return html`
    <dl class="keys">
      ${S.keys.map(([keys, what]) => html`<div><dt>${keys.map((key) => html`<kbd>${key}</kbd> `)}</dt><dd>${what}</dd></div>`)}
    </dl>
    <label class="check"><input type="checkbox" checked=${keysAreOn.value} onChange=${(event) => setKeys(event.target.checked)} /> ${S.keysOn}</label>`;
}
