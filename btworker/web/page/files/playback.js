// Playing: one <audio> for the whole page, and what others may do with it (play, seek, speed).

import { address } from "./api.js";
import { notify } from "./notices.js";
import { placeAt, rows } from "./rows.js";
import { loadSound } from "./session.js";
import { effect } from "./signals.js";
import { active, playing, position, sound, speed } from "./state.js";
import { S } from "./strings.js";

export const SPEEDS = [0.5, 0.75, 1, 1.25, 1.5, 1.75, 2, 2.5, 3];
export const audio = new Audio();
audio.preload = "metadata";
let until = Infinity;
let renewedAt = -1;

/** Seek, and play unless told otherwise; `end`: where to stop by itself. */
export function playFrom(seconds, { end = Infinity, plays = true } = {}) {
  if (!sound.value) return;
  until = end;
  audio.currentTime = seconds;
  position.value = seconds;
  if (plays) start();
}

export function toggle() {
  if (!sound.value) return;
  until = Infinity;
  if (audio.paused) start();
  else audio.pause();
}

export const skip = (seconds) => {
  const moved = Math.max(0, audio.currentTime + seconds);
  playFrom(Math.min(moved, audio.duration || moved), { plays: !audio.paused });
};

/** Go to the next speed, `steps` further. */
export function changeSpeed(steps) {
  setSpeed(SPEEDS[Math.max(0, Math.min(SPEEDS.length - 1, SPEEDS.indexOf(speed.value) + steps))]);
}

export const setSpeed = (value) => (speed.value = audio.playbackRate = value);

function start() {
  audio.playbackRate = speed.value;
  audio.play().catch((error) => error.name !== "AbortError" && !audio.error && notify(S.cannotPlay(error.message)));
}

function tick() {
  if (audio.error) return;
  position.value = audio.currentTime;
  if (audio.currentTime >= until) {
    until = Infinity;
    audio.pause();
  }
  const row = rows.value[placeAt(audio.currentTime)];
  if (row && !row.missing && !audio.paused) active.value = row.number;
  if (!audio.paused) requestAnimationFrame(tick);
}

for (const name of ["play", "pause", "ended"]) {
  audio.addEventListener(name, () => {
    playing.value = !audio.paused;
    tick();
  });
}
audio.addEventListener("seeked", tick);
audio.addEventListener("error", renew);

/** A ticket ends after an hour: get another one, and go on where the sound broke off. */
async function renew() {
  if (!sound.value) return;
  const [at, plays] = [position.value, playing.value];
  if (renewedAt === at) return notify(S.cannotPlay(audio.error?.message || S.offline));
  renewedAt = at;
  try {
    position.value = at;
    await loadSound();
    if (plays) start();
  } catch (error) {
    notify(S.cannotPlay(error.message));
  }
}

/** Take the sound that there is a ticket for, from where the last one broke off; without one, give it up. */
effect(() => {
  audio.pause();
  if (sound.value) {
    audio.src = address(sound.value);
    audio.currentTime = position.peek();
  } else audio.removeAttribute("src");
});
