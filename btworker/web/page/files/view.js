// The middle: what is known of the chosen job, and its transcript.

import { Again } from "./again.js";
import { sendIcon } from "./brand.js";
import { changes, undo } from "./corrections.js";
import { span } from "./format.js";
import { Find } from "./find.js";
import { html } from "./html.js";
import { search, stateOf } from "./joblist.js";
import { doubts } from "./rows.js";
import { choose, chooseInput, isLive, titleOf } from "./session.js";
import { Side } from "./side.js";
import { aside, chosen, dialog, finished, input, job, jobs, trouble, uploads } from "./state.js";
import { S } from "./strings.js";
import { Transcript } from "./transcript.js";

export function View() {
  if (!chosen.value) return hasNothing() ? welcome() : html`<p class="hint centre">${S.chooseOne}</p>`;
  if (trouble.value) return html`<${Head} /><${Mistake} title=${S.cannotShow} text=${trouble.value} />`;
  const known = job.value;
  if (!known) return html`<${Head} /><p class="hint centre" aria-busy="true">${S.loading}</p>`;
  if (known.status === "failed") return html`<${Head} /><${Mistake} title=${S.failedTitle} text=${known.error?.message} code=${known.error?.code} job=${known} />`;
  if (known.status === "canceled") return html`<${Head} /><${Mistake} title=${S.canceledTitle} job=${known} />`;
  return html`<${Head} /><${Notes} /><div class="reading"><${Transcript} />${finished.value && html`<${Side} />`}</div>`;
}

const hasNothing = () => jobs.value?.length === 0 && !search.value && !uploads.value.length;

/** In place of a first recording. */
const welcome = () => html`
  <div class="centre welcome">
    <div>${sendIcon()}<h2>${S.welcomeTitle}</h2><p>${S.welcomeHint}</p></div>
  </div>`;

function Head() {
  const known = job.value;
  return html`
    <header class="head">
      <button type="button" class="back plain" aria-label=${S.back} onClick=${() => choose("")}>‹</button>
      <div class="about">
        <h1><bdi>${known ? titleOf(known) : "…"}</bdi></h1>
        ${known && html`<p class="quiet" aria-live="polite">${isLive(known) ? stateOf(known) : lengthOf(known)}</p>`}
      </div>
      ${known?.inputs.length > 1 && html`<${Inputs} />`}
      ${finished.value && html`
        <${Find} />
        ${changes.value.length > 0 && html`<button type="button" onClick=${undo}>${S.undo}</button>`}
        <button type="button" class="panel" aria-expanded=${String(aside.value)} onClick=${() => (aside.value = !aside.value)}>${S.panel(doubts.value.length)}</button>
        <button type="button" class="primary" onClick=${() => (dialog.value = "export")}>${S.export}</button>`}
      <button type="button" class="plain" aria-label=${S.help} title=${S.help} onClick=${() => (dialog.value = "help")}>?</button>
    </header>
    ${known?.status === "running" && html`<progress class="thin" max="100" value=${known.progress.percent} aria-label=${S.progressOf(titleOf(known))} />`}`;
}

function lengthOf({ inputs, options }) {
  const seconds = inputs[input.value]?.durationSeconds;
  return [seconds && span(seconds), options.model].filter(Boolean).join(" · ");
}

function Inputs() {
  const change = (event) => chooseInput(Number(event.target.value));
  return html`
    <select aria-label=${S.file} value=${String(input.value)} onChange=${change}>
      ${job.value.inputs.map(({ filename }, index) => html`<option value=${String(index)}>${filename}</option>`)}
    </select>`;
}

function Notes() {
  const { warnings } = job.value;
  if (!warnings.length) return null;
  return html`<details class="notes"><summary>${S.notes(warnings.length)}</summary><ul>${warnings.map((one) => html`<li>${one}</li>`)}</ul></details>`;
}

function Mistake({ title, text, code, job: failed }) {
  return html`
    <div class="trouble">
      <h2>${title}</h2>
      ${text && html`<p>${text.replace(/[^.!?]$/, "$&.")}</p>`}
      ${code && html`<p class="quiet">${code}</p>`}
      ${failed && html`<${Again} job=${failed} />`}
    </div>`;
}
