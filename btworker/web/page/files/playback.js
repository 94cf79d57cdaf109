// Playing: one <audio> for the whole page, and what others may do with it (play, seek, speed).

import { address } from "./api.js";
import { notify } from "./notices.js";
import { placeAt, rows } from "./rows.js";
import { loadSound } from "./session.js";
import { effect } from "./signals.js";
import { active, online, playing, position, sound, speed } from "./state.js";
import { S } from "./strings.js";

export const SPEEDS = [0.5, 0.75, 1, 1.25, 1.5, 1.75, 2, 2.5, 3];
export const audio = new Audio();
audio.preload = "metadata";
let until = Infinity;
/** Where the sound broke off last: it is not asked for twice at one place, unless somebody presses play. */
let brokenAt = -1;
/** Whether it played when it broke off. */
let goesOn = false;

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
  const moved = Math.max(0, position.value + seconds);
  playFrom(Math.min(moved, audio.duration || moved), { plays: !audio.paused });
};

/** Go to the next speed, `steps` further. */
export function changeSpeed(steps) {
  setSpeed(SPEEDS[Math.max(0, Math.min(SPEEDS.length - 1, SPEEDS.indexOf(speed.value) + steps))]);
}

export const setSpeed = (value) => (speed.value = audio.playbackRate = value);

function start() {
  if (audio.error) return void renew(true);
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
audio.addEventListener("error", () => {
  if (!sound.value) return;
  if (brokenAt === position.value) return notify(S.cannotPlay(audio.error?.message || S.offline));
  brokenAt = position.value;
  renew(playing.value);
});

/** A ticket ends after an hour, or with the worker's run: get another one, and go on where the sound broke off. */
async function renew(plays) {
  goesOn = plays;
  audio.pause();
  try {
    await loadSound();
    if (plays) start();
  } catch (error) {
    if (error.status) notify(S.cannotPlay(error.message));
  }
}

/** Once the worker answers again. */
effect(() => {
  if (online.value && audio.error && sound.peek()) queueMicrotask(() => renew(goesOn));
});

/** Take the sound that there is a ticket for, from where the last one broke off; without one, give it up. */
effect(() => {
  audio.pause();
  if (sound.value) {
    audio.src = address(sound.value);
    audio.currentTime = position.peek();
  } else audio.removeAttribute("src");
});
