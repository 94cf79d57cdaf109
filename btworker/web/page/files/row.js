// One row of the transcript: who, when and what, and what can be done about it.

import { correct } from "./corrections.js";
import { TextEditor } from "./editor.js";
import { clock } from "./format.js";
import { html } from "./html.js";
import { NameField } from "./namefield.js";
import { playFrom } from "./playback.js";
import { colours, nameOf, speakers } from "./rows.js";
import { useComputed } from "./signals.js";
import { active, editing, finished, sound } from "./state.js";
import { S } from "./strings.js";

/** Seconds before a gap from which it is played. */
const LEAD_S = 1;

export function Row({ row, at }) {
  if (row.missing) return html`<${Gap} row=${row} at=${at} />`;
  return html`<${Spoken} row=${row} at=${at} />`;
}

function Spoken({ row, at }) {
  const isActive = useComputed(() => active.value === row.number).value;
  const isEdited = useComputed(() => editing.value === row.number).value;
  const classes = ["row", isActive && "active", row.begins && "begins", row.doubtful && !row.checked && "doubtful"];
  return html`
    <article class=${classes.filter(Boolean).join(" ")} data-at=${at} data-number=${row.number} data-voice=${colours.value.get(row.voice)}>
      <div class="who">${row.begins && row.voice && html`<${NameField} voice=${row.voice} />`}</div>
      <${Time} row=${row} />
      <div class="what">
        ${isEdited ? html`<${TextEditor} row=${row} />` : html`<${Text} row=${row} />`}
        ${row.doubtful && html`<${Doubt} row=${row} />`}
      </div>
      ${finished.value && !isEdited && html`<${Tools} row=${row} />`}
    </article>`;
}

function Time({ row }) {
  const text = clock(row.start);
  if (!sound.value) return html`<span class="time">${text}</span>`;
  const play = () => ((active.value = row.number), playFrom(row.start));
  return html`<button type="button" class="time" onClick=${play} aria-label=${S.playFrom(text)}>${text}</button>`;
}

function Text({ row }) {
  if (!row.text) return html`<p class="text"><em class="quiet">${S.emptied}</em></p>`;
  if (!row.words.length || !sound.value) return html`<p class="text" dir="auto">${row.text}</p>`;
  return html`
    <p class="text" dir="auto">
      ${row.words.map((word, index) => html`${index > 0 && /^\s/.test(word.word) && " "}<span class="word" data-word=${index}>${word.word.trim()}</span>`)}
    </p>`;
}

function Tools({ row }) {
  const edit = () => ((active.value = row.number), (editing.value = row.number));
  const assign = (event) => correct({ op: "assign", segment: row.number, speaker: event.target.value });
  return html`
    <div class="tools">
      ${speakers.value.length > 1 && html`
        <select aria-label=${S.speakerOf(clock(row.start))} value=${row.voice} onChange=${assign}>
          ${speakers.value.map(({ voice }) => html`<option value=${voice}>${nameOf(voice)}</option>`)}
        </select>`}
      <button type="button" onClick=${edit} aria-label=${S.editOf(clock(row.start))} title=${S.edit}>
        <svg viewBox="0 0 24 24" width="16" height="16" aria-hidden="true"><path d="M4 20l1-5L16 4l4 4L9 19zM14 6l4 4" fill="none" stroke="currentColor" stroke-width="2" stroke-linejoin="round" /></svg>
      </button>
    </div>`;
}

function Doubt({ row }) {
  const check = () => correct({ op: "check", segment: row.number, checked: !row.checked });
  const text = row.checked ? S.wasChecked : S.doubtful(row.reasons);
  const button = html`<button type="button" onClick=${check}>${row.checked ? S.isDoubtful : S.isRight}</button>`;
  return html`<p class=${row.checked ? "quiet doubt" : "doubt"}>${text} ${finished.value && button}</p>`;
}

function Gap({ row, at }) {
  const length = row.end - row.start;
  const play = () => playFrom(Math.max(0, row.start - LEAD_S), { end: row.end + LEAD_S });
  return html`
    <div class="row gap" data-at=${at} role="note">
      <span class="text">${S.gap(clock(row.start), clock(row.end), length)}</span>
      ${sound.value && html`<button type="button" onClick=${play}>${S.playIt}</button>`}
    </div>`;
}
