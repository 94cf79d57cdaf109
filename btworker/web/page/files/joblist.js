// The list at the left: what is being sent, what waits and runs, what is done.

import { ask, askJson } from "./api.js";
import { bytes, moment, span } from "./format.js";
import { html } from "./html.js";
import { notify } from "./notices.js";
import { useEffect } from "./preact-hooks.js";
import { choose, isLive, takeJob, titleOf } from "./session.js";
import { signal } from "./signals.js";
import { chosen, cursor, jobs, leaving, token, uploads } from "./state.js";
import { S } from "./strings.js";
import { lookForUnfinished, stop, unfinished } from "./uploading.js";

const LIVE_MS = 2000;
const QUIET_MS = 10000;
const UNDO_MS = 8000;
const TYPING_MS = 250;
const PAGE = 50;
/** What is looked for in names and texts; "" for all jobs. */
export const search = signal("");
let typing;
let listed = "";

export function JobList() {
  useEffect(refreshed, []);
  useEffect(() => void lookForUnfinished(), []);
  const shown = (jobs.value ?? []).filter((job) => !leaving.value.has(job.workerJobId));
  return html`
    <nav class="jobs" aria-label=${S.recordings}>
      <h2>${S.recordings}</h2>
      ${(jobs.value?.length > 0 || search.value) && html`
        <input type="search" aria-label=${S.search} placeholder=${S.search} onInput=${(event) => lookFor(event.target.value)} />`}
      <ul>
        ${uploads.value.map((one) => html`<${Sending} key=${one.id} one=${one} />`)}
        ${unsent().map((one) => html`<${Unfinished} key=${one.name} one=${one} />`)}
        ${shown.map((job) => html`<${Entry} key=${job.workerJobId} job=${job} />`)}
      </ul>
      ${jobs.value && !shown.length && !uploads.value.length && html`<p class="hint">${search.value ? S.nothingFound : S.noJobs}</p>`}
      ${cursor.value && html`<button type="button" class="wide" onClick=${loadMore}>${S.loadMore}</button>`}
    </nav>`;
}

const unsent = () => unfinished.value.filter(({ name, size }) => !uploads.value.some((one) => one.name === name && one.size === size));

function Sending({ one }) {
  const percent = one.size ? Math.floor((100 * one.sent) / one.size) : 0;
  const state = { waiting: S.waitsToBeSent, sending: S.sent(percent, bytes(one.size)), failed: one.error }[one.state];
  return html`
    <li class=${`entry ${one.state}`}>
      <div class="lines"><bdi class="title">${one.name}</bdi><span class="state">${state}</span>
        ${one.state !== "failed" && html`<progress max="100" value=${percent} aria-label=${S.sendingOf(one.name)} />`}
      </div>
      ${one.again && html`<button type="button" onClick=${one.again}>${S.tryAgain}</button>`}
      <button type="button" class="plain" aria-label=${S.stopOf(one.name)} title=${S.stop} onClick=${() => stop(one.id)}>×</button>
    </li>`;
}

function Unfinished({ one }) {
  return html`<li class="entry"><div class="lines"><bdi class="title">${one.name}</bdi><span class="state">${S.goOn}</span></div></li>`;
}

function Entry({ job }) {
  const title = titleOf(job);
  const isChosen = job.workerJobId === chosen.value;
  return html`
    <li class=${`entry ${job.status}${isChosen ? " chosen" : ""}`}>
      <a class="lines" href=${`#${job.workerJobId}`} aria-current=${isChosen ? "true" : undefined}>
        <bdi class="title">${title}</bdi>
        <span class="state">${stateOf(job)}</span>
        ${job.status === "running" && html`<progress max="100" value=${job.progress.percent} aria-label=${S.progressOf(title)} />`}
      </a>
      <button type="button" class="plain" onClick=${() => (isLive(job) ? cancel(job) : remove(job))}
        aria-label=${isLive(job) ? S.cancelOf(title) : S.deleteOf(title)} title=${isLive(job) ? S.cancel : S.delete}>×</button>
    </li>`;
}

/** What a job does, in words. */
export function stateOf(job) {
  if (job.status === "running") {
    const left = job.etaSeconds == null ? "" : `, ${S.left(span(job.etaSeconds))}`;
    return `${S.stages[job.stage] ?? job.stage} ${Math.floor(job.progress.percent)} %${left}`;
  }
  if (job.status === "queued") return job.waitingFor ? S.waitsFor(job.waitingFor) : S.statuses.queued;
  if (job.status === "failed") return `${S.statuses.failed} · ${moment(job.createdAt)}`;
  const seconds = job.inputs.reduce((sum, one) => sum + (one.durationSeconds ?? 0), 0);
  const parts = [moment(job.createdAt), seconds && span(seconds), job.status === "canceled" && S.statuses.canceled];
  return parts.filter(Boolean).join(" · ");
}

async function cancel(job) {
  if (!confirm(S.reallyCancel(titleOf(job)))) return;
  await ask(`v1/jobs/${job.workerJobId}/cancel`, { method: "POST" }).catch((error) => notify(error.message));
  refresh();
}

/** Hide a job at once, and delete it in a moment, unless somebody takes that back. */
export function remove(job) {
  const id = job.workerJobId;
  const hide = (isHidden) => {
    const next = new Set(leaving.value);
    if (isHidden) next.add(id);
    else next.delete(id);
    leaving.value = next;
  };
  const send = async () => {
    await ask(`v1/jobs/${id}`, { method: "DELETE" }).catch((error) => notify(error.message));
    await refresh();
    hide(false);
  };
  hide(true);
  if (chosen.value === id) choose("");
  const timer = setTimeout(send, UNDO_MS);
  notify(S.deleted(titleOf(job)), { action: S.undo, ms: UNDO_MS, act: () => (clearTimeout(timer), hide(false)) });
}

/** Search while somebody types, not at each letter. */
function lookFor(words) {
  clearTimeout(typing);
  typing = setTimeout(async () => {
    search.value = words.trim();
    await refresh();
  }, TYPING_MS);
}

const pageOf = (more = "") =>
  askJson(`v1/jobs?limit=${PAGE}${search.value ? `&q=${encodeURIComponent(search.value)}` : ""}${more}`);

/** Ask for the first page again; what was loaded after it stays. */
async function refresh() {
  if (!token.value) return;
  const words = search.value;
  try {
    const found = await pageOf();
    if (words !== search.value) return;
    const oldest = found.jobs.at(-1)?.createdAt ?? "";
    const later = found.nextCursor && listed === words ? (jobs.value ?? []).filter((job) => job.createdAt < oldest) : [];
    if (!later.length) cursor.value = found.nextCursor;
    listed = words;
    jobs.value = [...found.jobs, ...later];
    const current = found.jobs.find((job) => job.workerJobId === chosen.value);
    if (current && isLive(current)) takeJob(current);
  } catch {
    // The banner says that the worker does not answer; the next look may find it again.
  }
}

async function loadMore() {
  const found = await pageOf(`&cursor=${encodeURIComponent(cursor.value)}`);
  cursor.value = found.nextCursor;
  jobs.value = [...jobs.value, ...found.jobs];
}

/** Look again and again, rarely while nothing runs, and not while nobody looks. */
function refreshed() {
  let timer;
  const look = async () => {
    clearTimeout(timer);
    if (!document.hidden) await refresh();
    timer = setTimeout(look, jobs.value?.some(isLive) ? LIVE_MS : QUIET_MS);
  };
  look();
  document.addEventListener("visibilitychange", look);
  addEventListener("jobs-changed", look);
  return () => {
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", look);
    removeEventListener("jobs-changed", look);
  };
}
