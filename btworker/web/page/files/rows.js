// The engine's segments and people's corrections -> the rows of the transcript, the speakers, and the places to look at.

import { computed } from "./signals.js";
import { layer, missing, segments } from "./state.js";

export const COLOURS = 9;

/** Rows in order: segments ({number, start, end, text, words, voice, …}) and missing speech ({missing: true, …}). */
export const rows = computed(() => {
  const found = segments.value.map((segment, number) => rowOf(segment, number, layer.value));
  const gaps = missing.value.map(({ start, end }) => ({ missing: true, start, end }));
  const all = gaps.length ? [...found, ...gaps].sort((a, b) => a.start - b.start) : found;
  all.forEach((row, at) => (row.begins = !row.missing && row.voice !== all[at - 1]?.voice));
  return all;
});

/** Number of a segment -> its row's place. */
export const places = computed(() => new Map(rows.value.map((row, at) => [row.number, at])));

/** Speakers in the order in which they begin: {voice, name, colour, seconds, first}. */
export const speakers = computed(() => {
  const found = new Map();
  for (const row of rows.value) {
    if (row.missing || !row.voice) continue;
    if (!found.has(row.voice)) {
      const colour = (found.size % COLOURS) + 1;
      found.set(row.voice, { voice: row.voice, name: nameOf(row.voice), colour, seconds: 0, first: row });
    }
    const speaker = found.get(row.voice);
    speaker.seconds += row.end - row.start;
    if (row.end - row.start > speaker.first.end - speaker.first.start) speaker.first = row;
  }
  return [...found.values()];
});

export const colours = computed(() => new Map(speakers.value.map(({ voice, colour }) => [voice, colour])));

/** Places to look at: doubtful segments that nobody checked, and missing speech. */
export const doubts = computed(() => rows.value.filter((row) => row.missing || (row.doubtful && !row.checked)));

/** A speaker's name, or the engine's label where there is none. */
export const nameOf = (voice) => layer.value.names[voice] ?? voice;

/** The row of a segment; undefined where there is none. */
export const rowOfSegment = (number) => rows.value[places.value.get(number)];

/** A label that nobody has: SPEAKER_04 after SPEAKER_03, whoever of them is shown. */
export function newLabel() {
  const { names, merges, segments: corrected } = layer.value;
  const own = Object.values(corrected).map(({ speaker }) => speaker);
  const used = [...segments.value.map(({ speaker }) => speaker), ...own, ...Object.keys(names), ...Object.keys(merges)];
  const numbers = used.map((label) => Number(/^SPEAKER_(\d+)$/.exec(label ?? "")?.[1] ?? -1));
  return `SPEAKER_${String(numbers.reduce((most, one) => Math.max(most, one), -1) + 1).padStart(2, "0")}`;
}

/** Place among the rows of the last segment that has begun at a time; -1 before the first. */
export function placeAt(seconds) {
  let [low, high] = [0, rows.value.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (rows.value[middle].start <= seconds) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

function rowOf(segment, number, { merges, segments: corrected }) {
  const one = corrected[number];
  const own = one?.text ?? null;
  const label = one?.speaker ?? segment.speaker ?? (segment.channel ? `Channel ${segment.channel}` : "");
  return {
    number,
    start: segment.start,
    end: segment.end,
    text: own ?? segment.text.trim(),
    words: own === null ? segment.words ?? [] : spread(own, segment.start, segment.end),
    voice: resolved(label, merges),
    doubtful: own === null && Boolean(segment.hallucination?.flagged),
    reasons: segment.hallucination?.reasons ?? [],
    checked: one?.checked ?? false,
    edited: own !== null,
  };
}

function resolved(label, merges) {
  for (let steps = 0; merges[label] && steps < 100; steps++) label = merges[label];
  return label;
}

/** Words of a text that somebody typed, with times by their letters; exports have the worker's own, which are finer. */
function spread(text, start, end) {
  const words = text.split(/\s+/).filter(Boolean);
  const perLetter = (end - start) / Math.max(1, words.join("").length);
  let at = start;
  return words.map((word, index) => {
    const from = at;
    at += word.length * perLetter;
    return { word: index ? ` ${word}` : word, start: from, end: at };
  });
}
