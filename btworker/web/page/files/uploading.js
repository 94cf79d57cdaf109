// Uploads that survive: tus in pieces, two files at a time. What was sent is known after a reload: the same file goes on.

import { address, askAgain, authorization } from "./api.js";
import { choose } from "./session.js";
import { signal } from "./signals.js";
import { chosen, once, token, uploads } from "./state.js";
import { S } from "./strings.js";

const AT_ONCE = 2;
const PIECE_BYTES = 64 * 2 ** 20;
const RETRIES_MS = [0, 500, 1000, 2000, 5000, 10000, 15000, 15000, 30000, 30000];
const running = new Map();
const waiting = [];
/** Files that this tab has sent, by the jobs that came of them. */
const sentHere = new Map();
let last = 0;

/** Files of which a part was sent before this page was loaded: {name, size}. */
export const unfinished = signal([]);

const tus = async () => (await import("./tus.js"), window.tus);

/** Send files, each as a job with these options. */
export function upload(files, options) {
  const added = files.map((file) => ({ id: ++last, name: file.name, size: file.size, sent: 0, state: "waiting", error: "" }));
  uploads.value = [...added, ...uploads.value];
  added.forEach(({ id }, index) => waiting.push({ id, file: files[index], options }));
  next();
}

/** The file of which a job came, where this tab has sent it. */
export const fileOf = (jobId) => sentHere.get(jobId);

/** Stop one, and let the worker forget what it has of it. */
export async function stop(id) {
  const place = waiting.findIndex((one) => one.id === id);
  if (place >= 0) waiting.splice(place, 1);
  const sender = running.get(id);
  leave(id);
  next();
  await sender?.abort(true).catch(() => undefined);
  await lookForUnfinished();
}

/** What this browser began to send, and did not finish. */
export async function lookForUnfinished() {
  if (!Object.keys(localStorage).some((key) => key.startsWith("tus::"))) return void (unfinished.value = []);
  const known = await (await tus()).defaultOptions.urlStorage.findAllUploads();
  unfinished.value = known.map(({ metadata, size }) => ({ name: metadata?.filename ?? "", size }));
}

async function next() {
  while (running.size < AT_ONCE && waiting.length) {
    const one = waiting.shift();
    running.set(one.id, null);
    await begin(one);
  }
}

async function begin({ id, file, options }) {
  const { Upload } = await tus();
  let used = "";
  const sender = new Upload(file, {
    endpoint: address("v1/uploads"),
    chunkSize: PIECE_BYTES,
    retryDelays: RETRIES_MS,
    removeFingerprintOnSuccess: true,
    metadata: { filename: file.name, submit: JSON.stringify(options) },
    onBeforeRequest: (request) => {
      used = token.value;
      request.setHeader("Authorization", authorization().Authorization);
    },
    onProgress: (sent) => show(id, { sent, state: "sending" }),
    onError: (error) => failed(id, error, used, () => upload([file], options)),
    onSuccess: ({ lastResponse }) => done(id, file, lastResponse.getHeader("Btworker-Job")),
  });
  running.set(id, sender);
  show(id, { state: "sending" });
  const [previous] = await sender.findPreviousUploads();
  if (previous) sender.resumeFromPreviousUpload(previous);
  sender.start();
}

function show(id, more) {
  uploads.value = uploads.value.map((one) => (one.id === id ? { ...one, ...more } : one));
}

function leave(id) {
  running.delete(id);
  uploads.value = uploads.value.filter((one) => one.id !== id);
}

function done(id, file, jobId) {
  leave(id);
  next();
  lookForUnfinished();
  if (!jobId) return;
  sentHere.set(jobId, file);
  if (!chosen.value) choose(jobId);
  dispatchEvent(new Event("jobs-changed"));
}

/** It stays, with a button; where the token was not good any more, it goes on by itself with the next one. */
function failed(id, error, used, again) {
  running.delete(id);
  const status = error.originalResponse?.getStatus() ?? 0;
  const message = messageOf(error.originalResponse?.getBody()) || (status ? S.refused(status) : S.offline);
  const retry = () => (leave(id), again());
  show(id, { state: "failed", error: message, again: retry });
  if (status === 401) {
    askAgain(message, used);
    once(token, retry);
  }
  next();
}

function messageOf(body) {
  try {
    return JSON.parse(body).error.message;
  } catch {
    return "";
  }
}
