// What people correct: sent as edits that stand on a version, so that two people at once never overwrite each other
// unseen. Where somebody else was first and changed another thing, both changes are kept; where it was the same thing,
// theirs is shown, and the own one waits for a button. What was not kept, for whatever reason, waits as well.

import { ask, askJson } from "./api.js";
import { notify } from "./notices.js";
import { signal } from "./signals.js";
import { chosen, input, layer } from "./state.js";
import { S } from "./strings.js";

/** Versions before each change of this tab, the newest last: [before, after]. */
export const changes = signal([]);
/** Id of a job -> its corrections as they were last seen, as the API has them. */
const seen = new Map();
/** What an edit changes, or is about; and how that is before anybody corrected it. */
const TOUCHED = { name: ["name"], merge: ["mergedInto"], assign: ["speaker"], text: ["text"], check: ["text", "checked"] };
const UNTOUCHED = { name: null, mergedInto: null, speaker: null, text: null, checked: false };
let line = Promise.resolve();

/** Which transcript is shown, and what was corrected in it then: for what is typed now and kept later. */
export const here = () => ({ jobId: chosen.value, input: input.value, known: seen.get(chosen.value) });

/** Send edits ({op, …}, without `input`) for what is shown. True once they are kept. */
export function correct(...edits) {
  return correctIn({ ...here(), known: undefined }, ...edits);
}

/** The same for a place that `here` gave. One after the other, however quickly they come. */
export function correctIn({ jobId, input, known }, ...edits) {
  const change = { edits: edits.map((edit) => ({ ...edit, input })) };
  return queued(() => send(jobId, change, known));
}

/** Take the last change of this tab back. */
export function undo() {
  return queued(async () => {
    const [before, after] = changes.value.at(-1) ?? [];
    if (before === undefined) return false;
    changes.value = changes.value.slice(0, -1);
    if (after !== layer.value.version) return notify(S.undoTooLate) && false;
    const done = await send(chosen.value, { restore: before });
    if (done) {
      changes.value = changes.value.slice(0, -1).map(([from, to]) => [from, to === before ? layer.value.version : to]);
      notify(S.undone);
    }
    return done;
  });
}

/** Load what is corrected now, and show it where its job is shown. Raises Refusal. */
export async function loadCorrections(jobId) {
  const found = await askJson(`v1/jobs/${jobId}/corrections`);
  seen.set(jobId, found);
  if (jobId === chosen.value) layer.value = layerOf(found, input.value);
  return found;
}

function queued(work) {
  line = line.then(work, work);
  return line;
}

/** `known`: the corrections that somebody saw when the change was begun. */
async function send(jobId, change, known) {
  try {
    for (;;) {
      const now = seen.get(jobId) ?? (await loadCorrections(jobId));
      if (isOvertaken(change, known ?? now, now)) return unkept(jobId, change, now, S.otherWasFirst, S.sendMine);
      known ??= now;
      const after = await patched(jobId, now.version, change);
      if (after) return await kept(jobId, now.version, after);
      await loadCorrections(jobId);
      if (!change.edits) return notify(S.undoTooLate) && false;
    }
  } catch (error) {
    const why = error.status === 401 ? S.tokenEnded : error.message;
    return unkept(jobId, change, known, (mine) => S.notKept(why, mine), S.tryAgain);
  }
}

/** The version that a change made; 0 where somebody else was first. Raises Refusal. */
async function patched(jobId, version, change) {
  try {
    const headers = { "If-Match": `"${version}"` };
    const answer = await ask(`v1/jobs/${jobId}/corrections`, { method: "PATCH", headers, json: change });
    return (await answer.json()).version;
  } catch (error) {
    if (error.status === 412) return 0;
    throw error;
  }
}

async function kept(jobId, before, after) {
  if (jobId === chosen.value) changes.value = [...changes.value, [before, after]];
  await loadCorrections(jobId).catch(() => undefined);
  return true;
}

/** Say what was not kept, until somebody sends it again or lets it go. */
function unkept(jobId, change, known, why, action) {
  const mine = (change.edits ?? []).map((edit) => edit.text ?? edit.name ?? edit.into ?? edit.speaker ?? "").join(", ");
  notify(why(mine), { action, stays: true, act: () => queued(() => send(jobId, change, known)) });
  return false;
}

/** Whether somebody else has changed since what an edit changes. */
const isOvertaken = ({ edits = [] }, before, now) => edits.some((edit) => touched(before, edit) !== touched(now, edit));

function touched(found, { op, input, speaker, segment }) {
  const { speakers = [], segments = [] } = found.inputs.find((one) => one.input === input) ?? {};
  const isOfSpeaker = op === "name" || op === "merge";
  const one = isOfSpeaker ? speakers.find((one) => one.speaker === speaker) : segments.find((one) => one.segment === segment);
  return JSON.stringify(TOUCHED[op].map((field) => ({ ...UNTOUCHED, ...one })[field]));
}

function layerOf(found, index) {
  const mine = found.inputs.find((one) => one.input === index) ?? { speakers: [], segments: [] };
  const those = (key) => mine.speakers.filter((one) => one[key]).map((one) => [one.speaker, one[key]]);
  return {
    version: found.version,
    names: Object.fromEntries(those("name")),
    merges: Object.fromEntries(those("mergedInto")),
    segments: Object.fromEntries(mine.segments.map((one) => [one.segment, one])),
  };
}
