// The keyboard. A key alone does nothing while somebody types, and all of them can be turned off.

import { undo } from "./corrections.js";
import { changeSpeed, skip, toggle } from "./playback.js";
import { assign } from "./row.js";
import { newLabel, places, rowOfSegment, rows, speakers } from "./rows.js";
import { nextDoubt } from "./side.js";
import { signal } from "./signals.js";
import { active, dialog, editing, finished } from "./state.js";
import { reveal } from "./transcript.js";

const KEPT = "btworker.keys";
const SKIP_S = 5;
export const keysAreOn = signal(localStorage.getItem(KEPT) !== "off");

/** Turn the keys on or off, for this browser. */
export function setKeys(isOn) {
  keysAreOn.value = isOn;
  localStorage.setItem(KEPT, isOn ? "on" : "off");
}

const KEYS = {
  " ": toggle,
  j: () => skip(-SKIP_S),
  l: () => skip(SKIP_S),
  k: toggle,
  ArrowLeft: () => changeSpeed(-1),
  ArrowRight: () => changeSpeed(1),
  ArrowUp: () => step(-1),
  ArrowDown: () => step(1),
  Enter: edit,
  n: nextDoubt,
  "/": () => document.getElementById("find")?.focus(),
  e: () => finished.value && (dialog.value = "export"),
  "?": () => (dialog.value = "help"),
};
/** Keys that a button, a link or a list has a use for itself. */
const THEIRS = { Enter: "button, a, select, summary", " ": "button, a, select, summary, input, [role=slider]" };

export function watchKeys() {
  addEventListener("keydown", (event) => {
    if (event.defaultPrevented || dialog.value || isTyping(event.target)) return;
    if ((event.ctrlKey || event.metaKey) && event.key === "z" && !event.shiftKey) return take(event, undo);
    if (event.ctrlKey || event.metaKey || event.altKey || !keysAreOn.value) return;
    if (isOnSlider(event)) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (THEIRS[key] && event.target.closest(THEIRS[key])) return;
    if (/^[0-9]$/.test(key)) return take(event, () => give(Number(key)));
    if (KEYS[key]) take(event, KEYS[key]);
  });
}

function take(event, act) {
  event.preventDefault();
  act();
}

const isTyping = (target) => target.closest("textarea, select, input:not([type=checkbox])");

/** On the waveform arrows move the sound. */
function isOnSlider(event) {
  if (event.target.getAttribute("role") !== "slider") return false;
  const moves = { ArrowLeft: -SKIP_S, ArrowRight: SKIP_S, PageDown: -60, PageUp: 60 };
  if (event.key in moves) take(event, () => skip(moves[event.key]));
  return event.key in moves;
}

/** Go to the segment before or after. */
function step(by) {
  const all = rows.value;
  let at = places.value.get(active.value);
  at = at === undefined ? (by > 0 ? 0 : all.length - 1) : at + by;
  while (all[at]?.missing) at += by;
  if (!all[at]) return;
  active.value = all[at].number;
  document.querySelector(".transcript")?.focus({ preventScroll: true });
  reveal(at);
}

function edit() {
  if (finished.value && active.value >= 0) editing.value = active.value;
}

/** The segment is this speaker's; 0: somebody's whom the engine did not find. */
function give(key) {
  const row = rowOfSegment(active.value);
  const label = key ? speakers.value[key - 1]?.voice : newLabel();
  if (finished.value && row && label) assign(row, label);
}
