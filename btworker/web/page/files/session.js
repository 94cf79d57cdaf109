// Which job is shown, and all that is loaded for it: its events while it runs, its transcript and sound once it is done.

import { askJson } from "./api.js";
import { changes, loadCorrections } from "./corrections.js";
import { notify } from "./notices.js";
import { loadPeaks } from "./peaks.js";
import { batch } from "./signals.js";
import * as state from "./state.js";
import { S } from "./strings.js";

let following = new AbortController();
/** Where somebody was when a token was not good any more: {jobId, index, position, active}; null otherwise. */
let left = null;
export const isLive = (job) => job.status === "queued" || job.status === "running";
/** Its name for people: that of its first file, and how many more there are. */
export const titleOf = (job) => job.inputs[0]?.filename ?? job.workerJobId;

/** Show a job; "" shows none. Its id is in the address, so that a reload and the back button find it. */
export function choose(jobId) {
  if (location.hash.slice(1) !== jobId) location.hash = jobId;
  else open(jobId);
}

/** Follow the address, and look what others corrected whenever somebody comes back to this tab. */
export function watchAddress() {
  const look = () => open(location.hash.slice(1), left?.jobId === location.hash.slice(1) ? left.index : 0);
  const back = () => !document.hidden && state.finished.value && loadCorrections(state.chosen.value).catch(() => undefined);
  addEventListener("hashchange", look);
  document.addEventListener("visibilitychange", back);
  look();
  return () => {
    removeEventListener("hashchange", look);
    document.removeEventListener("visibilitychange", back);
    following.abort();
    left = { jobId: state.chosen.value, index: state.input.value, position: state.position.value, active: state.active.value };
    reset("", 0);
  };
}

/** Be where somebody was before, if this is what was open then. */
function comeBack(jobId, index) {
  if (left?.jobId === jobId && left.index === index) {
    state.position.value = left.position;
    state.active.value = state.returning.value = left.active;
  }
  left = null;
}

/** Show another file of the same job. */
export function chooseInput(index) {
  open(state.chosen.value, index);
}

export async function open(jobId, index = 0) {
  following.abort();
  following = new AbortController();
  reset(jobId, index);
  if (!jobId || !state.token.value) return;
  const { signal } = following;
  try {
    const job = await askJson(`v1/jobs/${jobId}`, { signal });
    if (signal.aborted) return;
    takeJob(job);
    if (isLive(job)) await followJob(jobId, signal);
    else await loadResults(jobId, signal);
  } catch (error) {
    if (error.name === "AbortError" || signal.aborted) return;
    state.trouble.value = error.message;
    if (error.status === 0) state.once(state.online, () => signal.aborted || open(jobId, index));
  }
}

function reset(jobId, index) {
  batch(() => {
    state.chosen.value = jobId;
    if (state.job.value?.workerJobId !== jobId) state.job.value = null;
    state.input.value = index;
    state.segments.value = [];
    state.missing.value = [];
    state.finished.value = false;
    state.layer.value = { version: 0, names: {}, merges: {}, segments: {} };
    state.trouble.value = state.sound.value = "";
    state.peaks.value = null;
    state.position.value = 0;
    state.active.value = state.hovered.value = state.editing.value = -1;
    state.naming.value = "";
    changes.value = [];
  });
}

async function followJob(jobId, signal) {
  const { follow } = await import("./events.js");
  const take = (name, data) => {
    if (signal.aborted) return;
    if (name === "segment") takeSegment(data);
    else if (name === "progress") takeProgress(data);
    else takeJob(data);
  };
  await follow(jobId, take, signal);
  if (!signal.aborted) await loadResults(jobId, signal);
}

function takeSegment(segment) {
  if (segment.inputIndex !== state.input.value) return;
  const known = state.segments.value;
  const at = known.findLastIndex((one) => one.start <= segment.start);
  if (known[at]?.start === segment.start && known[at]?.channel === segment.channel) {
    state.segments.value = known.with(at, segment);
  } else state.segments.value = known.toSpliced(at + 1, 0, segment);
}

function takeProgress({ etaSeconds, ...progress }) {
  const job = state.job.value;
  if (!job) return;
  const stage = progress.percent > 0 && job.stage === "loading_model" ? "transcribing" : job.stage;
  takeJob({ ...job, stage, progress, etaSeconds });
}

/** A newer state of a job, for the list as well. */
export function takeJob(job) {
  batch(() => {
    if (job.workerJobId === state.chosen.value) state.job.value = job;
    const same = (one) => one.workerJobId === job.workerJobId;
    if (state.jobs.value) state.jobs.value = state.jobs.value.map((one) => (same(one) ? job : one));
  });
}

async function loadResults(jobId, signal) {
  const job = state.job.value;
  if (job.status !== "complete") return;
  const index = state.input.value;
  const wanted = `v1/jobs/${jobId}/transcript?format=json&corrected=false&input=${index}`;
  const [transcript] = await Promise.all([askJson(wanted, { signal }), loadCorrections(jobId)]);
  if (signal.aborted) return;
  batch(() => {
    state.segments.value = transcript.segments;
    state.missing.value = transcript.missing_speech ?? [];
    state.finished.value = true;
    comeBack(jobId, index);
  });
  if (job.inputs[index]?.audioUrl) await loadSound().catch((error) => notify(S.cannotPlay(error.message)));
}

/** A ticket for the sound, and the waveform. Raises Refusal. */
export async function loadSound() {
  const [jobId, index] = [state.chosen.value, state.input.value];
  const ticket = await ticketOf(jobId, index);
  if (jobId !== state.chosen.value || index !== state.input.value) return;
  state.sound.value = ticket.audioUrl;
  state.peaks.value ??= await loadPeaks(ticket.peaksUrl, async () => (await ticketOf(jobId, index)).peaksUrl);
}

const ticketOf = (jobId, index) => askJson(`v1/jobs/${jobId}/inputs/${index}/tickets`, { method: "POST" });
