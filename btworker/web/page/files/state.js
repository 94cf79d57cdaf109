// What the page knows, as signals: whoever reads one is drawn again when it changes. Nothing else.

import { computed, signal } from "./signals.js";

const TOKEN = "btworker.token";

/** The bearer token; kept until the tab is closed, and for this tab alone. */
export const token = signal(sessionStorage.getItem(TOKEN) ?? "");
/** Why the token is asked for again; "" at first. */
export const refused = signal("");
/** False while the worker does not answer. */
export const online = signal(true);

/** The jobs, newest first; null before the first answer. */
export const jobs = signal(null);
/** Cursor of the next page of jobs; null where there is none. */
export const cursor = signal(null);
/** What ping tells of the worker; null before its answer. */
export const worker = signal(null);
/** Files on their way: {id, name, size, sent, state, error, again}. */
export const uploads = signal([]);
/** Jobs that are hidden, since they will be deleted in a moment. */
export const leaving = signal(new Set());

/** Id of the job that is shown; "" for none. */
export const chosen = signal("");
/** That job; null until it is known. */
export const job = signal(null);
/** Which of its inputs is shown. */
export const input = signal(0);
/** The engine's segments of that input, as the API has them. */
export const segments = signal([]);
/** Stretches with speech and without text: {start, end}. */
export const missing = signal([]);
/** True once the finished transcript is there. */
export const finished = signal(false);
/** What people corrected: see corrections.js. */
export const layer = signal({ version: 0, names: {}, merges: {}, segments: {} });
/** Why the transcript cannot be shown; "" where it can. */
export const trouble = signal("");

/** Address of the sound, with its ticket; "" where nothing can be played. */
export const sound = signal("");
/** The waveform: see peaks.js; null before it is there. */
export const peaks = signal(null);
/** Seconds of the recording. */
export const position = signal(0);
/** The same in whole seconds, for what need not be drawn sixty times a second. */
export const second = computed(() => Math.floor(position.value));
export const playing = signal(false);
export const speed = signal(1);

/** Number of the segment that is worked on; -1 for none. */
export const active = signal(-1);
/** Number of the segment that the mouse or the focus is in; -1 for none. */
export const hovered = signal(-1);
/** Number of the segment whose text is being edited; -1 for none. */
export const editing = signal(-1);
/** Number of the segment that comes into view once its text is there: somebody was at it before; -1 for none. */
export const returning = signal(-1);
/** Which field of a name is open: its place, as namefield.js has it; "" for none. */
export const naming = signal("");
/** True while all rows are in the document, to be printed. */
export const printing = signal(false);
/** "help", "export", or "" for none. */
export const dialog = signal("");
/** Whether the side panel is open where the window is narrow. */
export const aside = signal(false);
/** Messages at the bottom: see notices.js. */
export const notices = signal([]);

/** Do something as soon as a signal's value is not empty: the worker answers, or there is a token. */
export function once(wanted, act) {
  const stop = wanted.subscribe((value) => value && queueMicrotask(() => (stop(), act())));
}

/** Keep a token for this tab; "" forgets it. */
export function keepToken(value) {
  if (value) sessionStorage.setItem(TOKEN, value);
  else sessionStorage.removeItem(TOKEN);
  token.value = value;
}
