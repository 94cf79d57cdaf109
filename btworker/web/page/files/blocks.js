// Which rows of a transcript are in the document: blocks of them near the window, a few more at each frame, so that no
// frame takes long, however far somebody jumps.

import { computed } from "./signals.js";
import { rows } from "./rows.js";

/** Rows that come and go together. */
export const BLOCK = 4;
/** How far above and below the window rows are kept ready. */
const BEYOND_PX = 800;
/** Blocks that come in one frame: more than a screen of rows takes a few frames. */
export const AT_ONCE = 2;
/** A row's height before it was seen: so many letters in a line of that height. */
const [LINE_PX, LETTERS, EDGES_PX, TURN_PX] = [24, 62, 14, 10];

const guesses = computed(() => {
  const found = [];
  rows.value.forEach((row, at) => {
    const lines = Math.max(1, Math.ceil((row.text ?? "").length / LETTERS));
    const block = Math.floor(at / BLOCK);
    found[block] = (found[block] ?? 0) + EDGES_PX + LINE_PX * lines + (row.begins ? TURN_PX : 0);
  });
  return found;
});

/** Where each block begins, in pixels, and where the last one ends: by the heights that were seen, else guessed. */
export function topsOf(heights) {
  const found = [0];
  guesses.value.forEach((guess, block) => found.push(found[block] + (heights[block] ?? guess)));
  return found;
}

/** Which blocks should be there, {first, last}, where the window shows `view`, {from, to}. */
export function wantedOf(view, tops) {
  const blocks = tops.length - 1;
  const near = (block) => tops[block + 1] > view.from - BEYOND_PX && tops[block] < view.to + BEYOND_PX;
  let first = 0;
  while (first < blocks - 1 && !near(first)) first++;
  let last = first;
  while (last < blocks - 1 && near(last + 1)) last++;
  return { first, last: blocks ? last : -1 };
}

/** Which of them are there in the next frame: those of `shown` that are wanted, and `more` around the window. */
export function grown(shown, wanted, view, tops, more) {
  let [first, last] = [Math.max(shown.first, wanted.first), Math.min(shown.last, wanted.last)];
  if (first > last) {
    const visible = tops.findLastIndex((top) => top <= view.from);
    first = Math.max(wanted.first, Math.min(visible, wanted.last));
    last = first - 1;
  }
  const middle = (view.from + view.to) / 2;
  for (let left = more; left > 0 && (first > wanted.first || last < wanted.last); left--) {
    const isBelow = last < wanted.last && (first === wanted.first || tops[last + 1] - middle < middle - tops[first]);
    if (isBelow) last++;
    else first--;
  }
  return { first, last };
}
