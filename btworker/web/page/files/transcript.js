// The transcript: rows in blocks, of which only those near the window are in the document (blocks.js), so that eight hours
// scroll like a page. The word that is spoken is marked without drawing anything again.

import { AT_ONCE, BLOCK, grown, topsOf, wantedOf } from "./blocks.js";
import { html } from "./html.js";
import { mark, rangeOf, wordUnder } from "./letters.js";
import { memo } from "./memo.js";
import { playFrom } from "./playback.js";
import { useEffect, useLayoutEffect, useRef, useState } from "./preact-hooks.js";
import { rowOf } from "./row.js";
import { places, rows, speakers } from "./rows.js";
import { effect, useComputed } from "./signals.js";
import * as state from "./state.js";
import { S } from "./strings.js";
import { spokenAt } from "./spoken.js";

let scroller = null;
let tops = [0];

/** Bring a row into view, in the middle. */
export function reveal(at, { smooth = false } = {}) {
  const block = Math.floor(at / BLOCK);
  if (!scroller || at < 0) return;
  const find = () => scroller.querySelector(`[data-at="${at}"]`);
  if (!find()) scroller.scrollTop = tops[block] + ((tops[block + 1] - tops[block]) * (at % BLOCK)) / BLOCK;
  let tries = 10;
  const settle = () => {
    find()?.scrollIntoView({ block: "center", behavior: smooth ? "smooth" : "instant" });
    if (!find() && tries--) requestAnimationFrame(settle);
  };
  requestAnimationFrame(settle);
}

export function Transcript() {
  const list = useRef();
  const heights = useRef([]);
  const [view, setView] = useState({ from: 0, to: 1000 });
  const inNextFrame = useFrame(() => setView((known) => ({ ...known })));
  const isAtEnd = useRef(true);
  useLayoutEffect(() => ((scroller = list.current), watchView(list.current, setView, isAtEnd)), []);
  useEffect(() => ((heights.current = []), (list.current.scrollTop = 0), undefined), [state.chosen.value, state.input.value]);
  useEffect(() => void (state.finished.value && comeBack()), [state.finished.value]);
  useEffect(() => followWords(list.current), []);
  useLayoutEffect(() => {
    if (state.job.value?.status === "running" && isAtEnd.current) list.current.scrollTop = list.current.scrollHeight;
  }, [state.segments.value]);
  tops = topsOf(heights.current);
  const blocks = tops.length - 1;
  const { first, last } = useShown(view, inNextFrame);
  useLayoutEffect(() => markSpoken(list.current));
  const measure = (block, height) => {
    if (!height || Math.abs((heights.current[block] ?? 0) - height) < 1) return;
    heights.current[block] = height;
    inNextFrame();
  };
  const classes = ["transcript", state.sound.value && "sounds", !speakers.value.length && "nobody"];
  return html`
    <section class=${classes.filter(Boolean).join(" ")} ref=${list} tabindex="0" aria-label=${S.transcript} onClick=${clicked}
      onFocusIn=${entered} onPointerMove=${pointed} onPointerLeave=${() => mark("pointed", null)}>
      <div key="above" style=${{ height: `${tops[first] ?? 0}px` }} />
      ${Array.from({ length: last - first + 1 }, (_, at) => html`
        <${Block} key=${first + at} block=${first + at} rows=${rows.value} measure=${measure} />`)}
      <div key="below" style=${{ height: `${tops[blocks] - tops[last + 1]}px` }} />
      ${!blocks && html`<p class="hint">${state.finished.value ? S.noSpeech : S.waitingForText}</p>`}
    </section>`;
}

function comeBack() {
  reveal(places.value.get(state.returning.value) ?? -1);
  state.returning.value = -1;
}

/** The blocks that are there, {first, last}: those that are wanted, of which a few more come with each frame. However
 *  often a frame draws, it brings no more than that. */
function useShown(view, inNextFrame) {
  const shown = useRef({ first: 0, last: -1 });
  const grownAt = useRef(-1);
  const isWhole = state.printing.value;
  const wanted = isWhole ? { first: 0, last: tops.length - 2 } : wantedOf(view, tops);
  const [before, frame] = [shown.current, document.timeline.currentTime];
  const { first, last } = isWhole ? wanted : grown(before, wanted, view, tops, frame === grownAt.current ? 0 : AT_ONCE);
  if (first < before.first || last > before.last) grownAt.current = frame;
  useLayoutEffect(() => void ((first === wanted.first && last === wanted.last) || inNextFrame()));
  return (shown.current = { first, last });
}

/** A function that asks for something in the next frame: once, however often it is called. */
function useFrame(act) {
  const frame = useRef(0);
  useEffect(() => () => cancelAnimationFrame(frame.current), []);
  return () => (frame.current ||= requestAnimationFrame(() => ((frame.current = 0), act())));
}

const Block = memo(({ block, rows: all, measure }) => {
  const element = useRef();
  const own = (signal) => (Math.floor((places.value.get(signal.value) ?? -1) / BLOCK) === block ? signal.value : -1);
  const active = useComputed(() => own(state.active)).value;
  const hovered = useComputed(() => own(state.hovered)).value;
  const edited = useComputed(() => own(state.editing)).value;
  useLayoutEffect(() => {
    const seen = new ResizeObserver(() => measure(block, element.current?.offsetHeight ?? 0));
    seen.observe(element.current);
    return () => seen.disconnect();
  }, []);
  const isOf = ({ number }) => ({
    active: number === active,
    edited: number === edited,
    tools: state.finished.value && number !== edited && (number === active || number === hovered),
  });
  return html`
    <div ref=${element} class="block">
      ${all.slice(block * BLOCK, (block + 1) * BLOCK).map((row, at) => rowOf(row, block * BLOCK + at, isOf(row)))}
    </div>`;
}, ["rows"]);

/** Tell what is in view, and whether that is the end: while text comes in, who is there stays there. */
function watchView(element, setView, isAtEnd) {
  const look = () => {
    const [from, height] = [element.scrollTop, element.clientHeight];
    isAtEnd.current = from + height > element.scrollHeight - 80;
    setView({ from, to: from + height });
  };
  const resized = new ResizeObserver(look);
  element.addEventListener("scroll", look, { passive: true });
  resized.observe(element);
  return () => {
    element.removeEventListener("scroll", look);
    resized.disconnect();
  };
}

/** A click chooses a row, and one on a word plays it. */
function clicked(event) {
  const number = event.target.closest?.("[data-number]")?.dataset.number;
  if (number === undefined || event.target.closest("button, select, input, textarea") || getSelection()?.toString()) return;
  state.active.value = Number(number);
  const found = wordUnder(event);
  if (found) playFrom(rows.value[found.at].words[found.word].start);
}

/** The tools are in the row where the mouse was moved last, or the focus is; rows that are scrolled below it get none. */
function entered(event) {
  const number = event.target.closest?.("[data-number]")?.dataset.number;
  if (number !== undefined) state.hovered.value = Number(number);
}

function pointed(event) {
  entered(event);
  const found = state.sound.value && event.pointerType === "mouse" ? wordUnder(event) : null;
  mark("pointed", found && rangeOf(event.currentTarget.querySelector(`[data-at="${found.at}"]`), found.word));
}

/** Mark the word that is spoken, and keep it in view while the sound plays. */
function followWords(list) {
  let shown = -1;
  return effect(() => {
    const { at } = spokenAt(state.position.value);
    markSpoken(list);
    if (at !== shown && state.playing.value) {
      const row = list.querySelector(`[data-at="${at}"]`);
      if (!row || isOutside(row, list)) reveal(at, { smooth: Boolean(row) });
    }
    shown = at;
  });
}

let marked = { node: null, word: -1 };

function markSpoken(list) {
  const { at, word } = state.position.peek() ? spokenAt(state.position.peek()) : { at: -1, word: -1 };
  const row = at < 0 ? null : list.querySelector(`[data-at="${at}"]`);
  const node = row?.querySelector(".text")?.firstChild ?? null;
  if (node === marked.node && word === marked.word) return;
  marked = { node, word };
  mark("spoken", node && word >= 0 ? rangeOf(row, word) : null);
}

function isOutside(row, list) {
  const [inner, outer] = [row.getBoundingClientRect(), list.getBoundingClientRect()];
  return inner.top < outer.top || inner.bottom > outer.bottom;
}
