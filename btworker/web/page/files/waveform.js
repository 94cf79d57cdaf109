// The waveform on a canvas: speakers in their colours, marks for places to look at, a line where the sound is.

import { clock } from "./format.js";
import { html } from "./html.js";
import { playFrom } from "./playback.js";
import { useEffect, useRef, useState } from "./preact-hooks.js";
import { colours, placeAt, rows } from "./rows.js";
import { effect } from "./signals.js";
import { peaks, playing, position, second } from "./state.js";
import { S } from "./strings.js";

const HEIGHT = 64;
const ZOOMS = [1, 4, 16, 64, 256];
const LEAST_SECONDS = 5;
/** Nobody zooms closer than that. */

export function Waveform() {
  const canvas = useRef();
  const [zoom, setZoom] = useState(1);
  const seconds = peaks.value?.seconds ?? 0;
  useEffect(() => (seconds ? drawn(canvas.current, zoom) : undefined), [zoom, peaks.value, rows.value]);
  const zooms = ZOOMS.filter((one) => one === 1 || seconds / one >= LEAST_SECONDS);
  const step = (by) => setZoom(zooms[Math.max(0, Math.min(zooms.length - 1, zooms.indexOf(zoom) + by))]);
  const seek = (event) => {
    const box = canvas.current.getBoundingClientRect();
    const { from, to } = viewOf(zoom, seconds);
    playFrom(from + ((event.clientX - box.left) / box.width) * (to - from), { plays: playing.value });
  };
  return html`
    <div class="waveform">
      <canvas ref=${canvas} height=${HEIGHT} tabindex="0" role="slider" aria-label=${S.place} aria-valuemin="0"
        aria-valuemax=${Math.round(seconds)} aria-valuenow=${second.value}
        aria-valuetext=${S.placeOf(clock(second.value), clock(seconds))} onPointerDown=${seek} />
      ${zooms.length > 1 && html`
        <div class="zoom">
          <button type="button" onClick=${() => step(1)} aria-label=${S.zoomIn} disabled=${zoom === zooms.at(-1)}>+</button>
          <button type="button" onClick=${() => step(-1)} aria-label=${S.zoomOut} disabled=${zoom === 1}>−</button>
        </div>`}
    </div>`;
}

/** What of the recording is in view: all of it, or a window that follows the sound. */
function viewOf(zoom, seconds) {
  const width = seconds / zoom;
  const from = Math.max(0, Math.min(seconds - width, Math.floor(position.peek() / width) * width));
  return { from, to: from + width };
}

/** Draw now and whenever the sound moves on or the window changes its width. Returns what ends that. */
function drawn(canvas, zoom) {
  let picture = null;
  let gone = false;
  const paint = async () => {
    const sound = peaks.peek();
    if (gone || !sound) return;
    const { from, to } = viewOf(zoom, sound.seconds);
    const width = Math.max(1, Math.round(canvas.clientWidth * devicePixelRatio));
    if (picture?.from !== from || picture.width !== width) {
      const columns = await sound.read(from, to, Math.ceil(width / 3)).catch(() => null);
      if (gone || !columns) return;
      picture = { from, width, image: pictured(canvas, columns, from, to, width) };
    }
    const ink = canvas.getContext("2d");
    ink.putImageData(picture.image, 0, 0);
    ink.fillStyle = colour(canvas, "--ink");
    ink.fillRect(((position.peek() - from) / (to - from)) * width - 1, 0, 2, canvas.height);
  };
  const repaint = () => ((picture = null), paint());
  const resized = new ResizeObserver(repaint);
  resized.observe(canvas);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  dark.addEventListener("change", repaint);
  const stop = effect(() => void (position.value, paint()));
  return () => {
    gone = true;
    stop();
    resized.disconnect();
    dark.removeEventListener("change", repaint);
  };
}

function pictured(canvas, columns, from, to, width) {
  canvas.width = width;
  canvas.height = Math.round(HEIGHT * devicePixelRatio);
  const ink = canvas.getContext("2d", { willReadFrequently: true });
  const middle = canvas.height / 2;
  const loudest = Math.max(0.05, ...columns.map(([least, greatest]) => Math.max(-least, greatest)));
  const scale = (middle - 4 * devicePixelRatio) / loudest;
  marks(canvas, ink, from, to, width);
  const fills = [colour(canvas, "--quiet"), ...Array.from({ length: 9 }, (_, at) => colour(canvas, `--voice-${at + 1}`))];
  columns.forEach(([least, greatest], column) => {
    const row = rows.value[placeAt(from + ((column + 0.5) / columns.length) * (to - from))];
    const isSpoken = row && !row.missing && from + (column / columns.length) * (to - from) < row.end;
    ink.fillStyle = fills[isSpoken ? colours.value.get(row.voice) ?? 1 : 0];
    const height = Math.max(devicePixelRatio, (greatest - least) * scale);
    ink.fillRect((column * width) / columns.length, middle - greatest * scale, Math.max(1, width / columns.length - 1), height);
  });
  return ink.getImageData(0, 0, canvas.width, canvas.height);
}

/** Bands behind missing speech and doubtful segments. */
function marks(canvas, ink, from, to, width) {
  const [doubt, gap] = [colour(canvas, "--doubt-band"), colour(canvas, "--gap-band")];
  for (const row of rows.value) {
    if (!row.missing && (!row.doubtful || row.checked)) continue;
    ink.fillStyle = row.missing ? gap : doubt;
    const left = ((row.start - from) / (to - from)) * width;
    ink.fillRect(left, 0, Math.max(3, ((row.end - row.start) / (to - from)) * width), canvas.height);
  }
}

const colour = (element, name) => getComputedStyle(element).getPropertyValue(name).trim();
