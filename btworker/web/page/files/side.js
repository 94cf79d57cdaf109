// The panel at the right: the speakers, and the places that somebody should look at.

import { correct } from "./corrections.js";
import { clock, span } from "./format.js";
import { html } from "./html.js";
import { NameField } from "./namefield.js";
import { playFrom } from "./playback.js";
import { doubts, nameOf, rowOfSegment, rows, speakers } from "./rows.js";
import { active, aside, position, sound } from "./state.js";
import { S } from "./strings.js";
import { reveal } from "./transcript.js";

/** Seconds of a sample of somebody's voice. */
const SAMPLE_S = 5;
const LISTED = 200;

export function Side() {
  return html`
    <aside class=${`side${aside.value ? " open" : ""}`} aria-label=${S.aside}>
      ${speakers.value.length > 0 && html`
        <h2>${S.speakersTitle}</h2>
        <ul class="speakers">${speakers.value.map((speaker, at) => html`<${Speaker} key=${speaker.voice} speaker=${speaker} at=${at} />`)}</ul>`}
      <h2>${S.toLookAt(doubts.value.length)}</h2>
      ${!doubts.value.length && html`<p class="hint">${S.nothingDoubtful}</p>`}
      <ul class="doubts">${doubts.value.slice(0, LISTED).map((row) => html`<${Doubt} key=${row.start} row=${row} />`)}</ul>
    </aside>`;
}

function Speaker({ speaker, at }) {
  const { voice, name, seconds, first } = speaker;
  const others = speakers.value.filter((one) => one.voice !== voice);
  const sample = () => playFrom(first.start, { end: Math.min(first.end, first.start + SAMPLE_S) });
  const merge = (event) => {
    const into = event.target.value;
    event.target.value = "";
    if (into) correct({ op: "merge", speaker: voice, into });
  };
  return html`
    <li>
      <kbd aria-hidden="true">${at < 9 ? at + 1 : ""}</kbd>
      <${NameField} voice=${voice} place=${`side ${voice}`} />
      ${sound.value && html`<button type="button" class="plain" onClick=${sample} aria-label=${S.sampleOf(name)} title=${S.sample}>▶</button>`}
      <span class="quiet minutes">${span(seconds)}</span>
      ${others.length > 0 && html`
        <select class="merge" value="" aria-label=${S.mergeOf(name)} title=${S.merge} onChange=${merge}>
          <option value="">${S.merge}</option>
          ${others.map((one) => html`<option value=${one.voice}>${nameOf(one.voice)}</option>`)}
        </select>`}
    </li>`;
}

function Doubt({ row }) {
  const text = row.missing ? S.gapShort(row.end - row.start) : row.text;
  return html`
    <li>
      <button type="button" class=${row.missing ? "gap" : "doubtful"} onClick=${() => goTo(row)}>
        <b>${clock(row.start)}</b> <span dir="auto">${text}</span>
      </button>
    </li>`;
}

/** Show a place, and play it. */
function goTo(row) {
  aside.value = false;
  if (!row.missing) active.value = row.number;
  reveal(rows.value.indexOf(row));
  playFrom(Math.max(0, row.start - 0.5), { end: row.end + 0.5 });
}

/** The next place after the one that is looked at, from the beginning after the last. */
export function nextDoubt() {
  const at = rowOfSegment(active.value)?.start ?? position.value;
  const here = Math.max(at, position.value);
  const row = doubts.value.find((one) => one.start > here + 0.6) ?? doubts.value[0];
  if (row) goTo(row);
}
