// The transcript: rows in blocks, of which only those near the window are in the document, so that eight hours scroll
// like a page. The word that is spoken is marked without drawing anything again.

import { clock } from "./format.js";
import { html } from "./html.js";
import { playFrom } from "./playback.js";
import { memo } from "./memo.js";
import { useEffect, useLayoutEffect, useRef, useState } from "./preact-hooks.js";
import { Row } from "./row.js";
import { rows } from "./rows.js";
import { effect } from "./signals.js";
import { active, finished, input, chosen, job, playing, position, segments } from "./state.js";
import { S } from "./strings.js";
import { spokenAt } from "./spoken.js";

const BLOCK = 20;
/** Rows that come and go together. */
const BEYOND_PX = 800;
/** How far above and below the window rows are kept ready. */
const LINE_PX = 27;
const LETTERS = 70;
/** A row's height before it was seen: so many letters in a line of that height. */

let scroller = null;
let tops = [0];

/** Bring a row into view, in the middle. */
export function reveal(at, { smooth = false } = {}) {
  const block = Math.floor(at / BLOCK);
  if (!scroller || at < 0) return;
  const find = () => scroller.querySelector(`[data-at="${at}"]`);
  if (!find()) scroller.scrollTop = tops[block] + ((tops[block + 1] - tops[block]) * (at % BLOCK)) / BLOCK;
  let tries = 4;
  const settle = () => {
    find()?.scrollIntoView({ block: "center", behavior: smooth ? "smooth" : "instant" });
    if (!find() && tries--) requestAnimationFrame(settle);
  };
  requestAnimationFrame(settle);
}

export function Transcript() {
  const list = useRef();
  const heights = useRef([]);
  const [view, setView] = useState({ from: 0, to: 2000 });
  useLayoutEffect(() => ((scroller = list.current), watchView(list.current, setView)), []);
  useEffect(() => ((heights.current = []), (list.current.scrollTop = 0), undefined), [chosen.value, input.value]);
  useEffect(() => followWords(list.current), []);
  useKeptAtEnd(list);
  const blocks = Math.ceil(rows.value.length / BLOCK);
  tops = topsOf(blocks, heights.current);
  const isNear = (block) => tops[block + 1] > view.from - BEYOND_PX && tops[block] < view.to + BEYOND_PX;
  const near = Array.from({ length: blocks }, (_, block) => block).filter(isNear);
  const measure = (block, height) => {
    if (Math.abs((heights.current[block] ?? 0) - height) < 1) return;
    heights.current[block] = height;
    setView((known) => ({ ...known }));
  };
  return html`
    <section class="transcript" ref=${list} tabindex="0" aria-label=${S.transcript} onClick=${clicked}>
      <div style=${{ height: `${tops[near[0] ?? 0]}px` }} />
      ${near.map((block) => html`<${Block} key=${block} block=${block} rows=${rows.value} measure=${measure} />`)}
      <div style=${{ height: `${tops[blocks] - tops[(near.at(-1) ?? -1) + 1]}px` }} />
      ${!rows.value.length && html`<p class="hint">${finished.value ? S.noSpeech : S.waitingForText}</p>`}
    </section>`;
}

const Block = memo(({ block, rows: all, measure }) => {
  const element = useRef();
  useLayoutEffect(() => {
    const seen = new ResizeObserver(() => measure(block, element.current?.offsetHeight ?? 0));
    seen.observe(element.current);
    return () => seen.disconnect();
  }, [block]);
  const own = all.slice(block * BLOCK, (block + 1) * BLOCK);
  return html`
    <div ref=${element} class="block">
      ${own.map((row, at) => html`<${Row} key=${row.number ?? `gap${row.start}`} row=${row} at=${block * BLOCK + at} />`)}
    </div>`;
}, ["block", "rows"]);

function topsOf(blocks, heights) {
  const found = [0];
  for (let block = 0; block < blocks; block++) {
    found.push(found[block] + (heights[block] ?? guessed(rows.value, block * BLOCK)));
  }
  return found;
}

function guessed(all, first) {
  let height = 0;
  for (let at = first; at < Math.min(all.length, first + BLOCK); at++) {
    height += 12 + LINE_PX * Math.max(1, Math.ceil((all[at].text ?? "").length / LETTERS));
  }
  return height;
}

function watchView(element, setView) {
  const look = () => setView({ from: element.scrollTop, to: element.scrollTop + element.clientHeight });
  const resized = new ResizeObserver(look);
  element.addEventListener("scroll", look, { passive: true });
  resized.observe(element);
  return () => {
    element.removeEventListener("scroll", look);
    resized.disconnect();
  };
}

/** While text comes in: who is at the end stays there. */
function useKeptAtEnd(list) {
  const atEnd = useRef(true);
  useLayoutEffect(() => {
    const element = list.current;
    const look = () => (atEnd.current = element.scrollTop + element.clientHeight > element.scrollHeight - 80);
    element.addEventListener("scroll", look, { passive: true });
    return () => element.removeEventListener("scroll", look);
  }, []);
  useLayoutEffect(() => {
    if (job.value?.status === "running" && atEnd.current) list.current.scrollTop = list.current.scrollHeight;
  }, [segments.value]);
}

/** A click on a word plays it. */
function clicked(event) {
  const word = event.target.closest?.(".word");
  if (!word || getSelection()?.toString()) return;
  const row = rows.value[Number(word.closest("[data-at]").dataset.at)];
  active.value = row.number;
  playFrom(row.words[Number(word.dataset.word)].start);
}

/** Mark the word that is spoken, and keep it in view while the sound plays. */
function followWords(list) {
  let [marked, shown] = [null, -1];
  return effect(() => {
    const { at, word } = spokenAt(position.value);
    const found = at < 0 ? null : list.querySelector(`[data-at="${at}"] [data-word="${word}"]`);
    if (found !== marked) {
      marked?.classList.remove("spoken");
      found?.classList.add("spoken");
      marked = found;
    }
    if (at !== shown && playing.value) {
      const row = list.querySelector(`[data-at="${at}"]`);
      if (!row || isOutside(row, list)) reveal(at, { smooth: Boolean(row) });
    }
    shown = at;
  });
}

function isOutside(row, list) {
  const [inner, outer] = [row.getBoundingClientRect(), list.getBoundingClientRect()];
  return inner.top < outer.top || inner.bottom > outer.bottom;
}
