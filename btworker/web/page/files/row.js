// One row of the transcript: who, when and what, and what can be done about it. Rows are functions, not components: there
// are many of them, and only their block looks at signals.

import { correct } from "./corrections.js";
import { TextEditor } from "./editor.js";
import { clock } from "./format.js";
import { html } from "./html.js";
import { textOf } from "./letters.js";
import { NameField } from "./namefield.js";
import { playFrom } from "./playback.js";
import { nameOf, newLabel, speakers } from "./rows.js";
import { active, editing, finished, naming, sound } from "./state.js";
import { S } from "./strings.js";

/** Seconds before a gap from which it is played. */
const LEAD_S = 1;
/** In place of a speaker: one whom the engine did not find. */
const NEW = "+";

/** `at`: its place; `is`: whether it is {active, edited}, and has {tools}. */
export function rowOf(row, at, is) {
  return row.missing ? gapOf(row, at) : spokenOf(row, at, is);
}

function spokenOf(row, at, is) {
  const classes = ["row", is.active && "active", row.begins && "begins", row.doubtful && !row.checked && "doubtful"];
  return html`
    <article key=${row.number} class=${classes.filter(Boolean).join(" ")} data-at=${at} data-number=${row.number}>
      <div class="who">${row.begins && row.voice && html`<${NameField} voice=${row.voice} place=${placeOf(row)} />`}</div>
      ${timeOf(row)}
      <div class="what">
        ${is.edited ? html`<${TextEditor} row=${row} />` : textIn(row)}
        ${row.doubtful && html`<${Doubt} row=${row} />`}
      </div>
      ${is.tools && html`<${Tools} row=${row} />`}
    </article>`;
}

const placeOf = (row) => `row ${row.number}`;

function timeOf(row) {
  const text = clock(row.start);
  if (!sound.value) return html`<span class="time">${text}</span>`;
  const play = () => ((active.value = row.number), playFrom(row.start));
  return html`<button type="button" class="time" onClick=${play} aria-label=${S.playFrom(text)}>${text}</button>`;
}

function textIn(row) {
  const text = textOf(row);
  return text ? html`<p class="text" dir="auto">${text}</p>` : html`<p class="text"><em class="quiet">${S.emptied}</em></p>`;
}

function Tools({ row }) {
  const edit = () => ((active.value = row.number), (editing.value = row.number));
  const chosen = (event) => {
    const label = event.target.value;
    event.target.value = row.voice;
    assign(row, label === NEW ? newLabel() : label);
  };
  return html`
    <div class="tools">
      <select aria-label=${S.speakerOf(clock(row.start))} value=${row.voice} onChange=${chosen}>
        ${!row.voice && html`<option value="">${S.noSpeaker}</option>`}
        ${speakers.value.map(({ voice }) => html`<option value=${voice}>${nameOf(voice)}</option>`)}
        <option value=${NEW}>${S.newSpeaker}</option>
      </select>
      <button type="button" onClick=${edit} aria-label=${S.editOf(clock(row.start))} title=${S.edit}>
        <svg viewBox="0 0 24 24" width="16" height="16" aria-hidden="true"><path d="M4 20l1-5L16 4l4 4L9 19zM14 6l4 4" fill="none" stroke="currentColor" stroke-width="2" stroke-linejoin="round" /></svg>
      </button>
    </div>`;
}

/** Give a segment to a speaker. Whoever is new gets a name at once. */
export async function assign(row, label) {
  const isNew = !speakers.value.some(({ voice }) => voice === label);
  const done = label !== row.voice && (await correct({ op: "assign", segment: row.number, speaker: label }));
  if (done && isNew) naming.value = placeOf(row);
}

function Doubt({ row }) {
  const check = () => correct({ op: "check", segment: row.number, checked: !row.checked });
  const text = row.checked ? S.wasChecked : S.doubtful(row.reasons);
  const button = html`<button type="button" onClick=${check}>${row.checked ? S.isDoubtful : S.isRight}</button>`;
  return html`<p class=${row.checked ? "quiet doubt" : "doubt"}>${text} ${finished.value && button}</p>`;
}

function gapOf(row, at) {
  const length = row.end - row.start;
  const play = () => playFrom(Math.max(0, row.start - LEAD_S), { end: row.end + LEAD_S });
  return html`
    <div key=${`gap ${row.start}`} class="row gap" data-at=${at} role="note">
      <span class="text">${S.gap(clock(row.start), length)}</span>
      ${sound.value && html`<button type="button" onClick=${play}>${S.playIt}</button>`}
    </div>`;
}
