// What people correct: sent as edits that stand on a version, so that two people at once never overwrite each other
// unseen. Each change can be taken back while nobody else has changed anything after it.

import { ask, askJson } from "./api.js";
import { notify } from "./notices.js";
import { signal } from "./signals.js";
import { chosen, input, layer } from "./state.js";
import { S } from "./strings.js";

/** Versions before each change of this tab, the newest last: [before, after]. */
export const changes = signal([]);
let line = Promise.resolve();

/** Send edits ({op, …}, without `input`). True once they are kept. One after the other, however quickly they come. */
export function correct(...edits) {
  return queued(() => send({ edits: edits.map((edit) => ({ ...edit, input: input.value })) }));
}

/** Take the last change of this tab back. */
export function undo() {
  return queued(async () => {
    const [before, after] = changes.value.at(-1) ?? [];
    if (before === undefined) return false;
    changes.value = changes.value.slice(0, -1);
    if (after !== layer.value.version) return notify(S.undoTooLate) && false;
    const done = await send({ restore: before });
    if (done) {
      changes.value = changes.value.slice(0, -1).map(([from, to]) => [from, to === before ? layer.value.version : to]);
      notify(S.undone);
    }
    return done;
  });
}

/** Load what is corrected now. */
export async function loadCorrections(jobId) {
  const found = await askJson(`v1/jobs/${jobId}/corrections`);
  if (jobId === chosen.value) layer.value = layerOf(found, input.value);
}

function queued(work) {
  line = line.then(work, work);
  return line;
}

async function send(change) {
  const [jobId, before] = [chosen.value, layer.value.version];
  try {
    const headers = { "If-Match": `"${before}"` };
    await ask(`v1/jobs/${jobId}/corrections`, { method: "PATCH", headers, json: change });
  } catch (error) {
    if (error.status !== 412) return notify(S.notKept(error.message)) && false;
    await loadCorrections(jobId);
    notify(S.otherWasFirst, { action: S.tryAgain, act: () => queued(() => send(change)) });
    return false;
  }
  await loadCorrections(jobId);
  changes.value = [...changes.value, [before, layer.value.version]];
  return true;
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
