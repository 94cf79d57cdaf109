// The bar at the bottom: buttons, times, speed, and the waveform.

import { clock } from "./format.js";
import { html } from "./html.js";
import { setSpeed, skip, SPEEDS, toggle } from "./playback.js";
import { peaks, playing, second, sound, speed } from "./state.js";
import { S } from "./strings.js";
import { Waveform } from "./waveform.js";

export function Player() {
  if (!sound.value) return null;
  return html`
    <section class="player" aria-label=${S.player}>
      <div class="transport">
        <button type="button" class="round" onClick=${() => skip(-5)} aria-label=${S.back5} title=${S.back5}>−5</button>
        <button type="button" class="round play" onClick=${toggle} aria-label=${playing.value ? S.pause : S.play}>
          <${PlayIcon} />
        </button>
        <button type="button" class="round" onClick=${() => skip(5)} aria-label=${S.on5} title=${S.on5}>+5</button>
        <${Times} />
        <${Speeds} />
      </div>
      <${Waveform} />
    </section>`;
}

function PlayIcon() {
  const path = playing.value ? "M6 4h4v16H6zM14 4h4v16h-4z" : "M7 4l13 8-13 8z";
  return html`<svg viewBox="0 0 24 24" width="20" height="20" aria-hidden="true"><path d=${path} fill="currentColor" /></svg>`;
}

function Times() {
  return html`<span class="times"><b>${clock(second.value)}</b> / ${clock(peaks.value?.seconds ?? 0)}</span>`;
}

function Speeds() {
  const choose = (event) => setSpeed(Number(event.target.value));
  return html`
    <label class="speed"><span class="unseen">${S.speed}</span>
      <select value=${String(speed.value)} onChange=${choose}>
        ${SPEEDS.map((one) => html`<option value=${String(one)}>${one}×</option>`)}
      </select>
    </label>`;
}
