// What can be done about a recording that failed or was stopped: it is sent once more, with the same options. This tab
// still has the files that were chosen in it; others have to be chosen again, since the worker keeps none for that.

import { html } from "./html.js";
import { useRef } from "./preact-hooks.js";
import { choose } from "./session.js";
import { S } from "./strings.js";
import { fileOf, upload } from "./uploading.js";

export function Again({ job }) {
  const chooser = useRef();
  if (job.inputs.length !== 1) return null;
  const send = (files) => {
    if (!files.length) return;
    choose("");
    upload(files, optionsOf(job));
  };
  const file = fileOf(job.workerJobId);
  if (file) return html`<button type="button" class="primary" onClick=${() => send([file])}>${S.tryAgain}</button>`;
  return html`
    <p>${S.chooseAgainWhy}</p>
    <button type="button" class="primary" onClick=${() => chooser.current.click()}>${S.chooseAgain}</button>
    <input ref=${chooser} type="file" hidden tabindex="-1" aria-label=${S.chooseAgain} onChange=${() => send([...chooser.current.files])} />`;
}

/** A job's options as the API takes them: without those that nobody set, and stored voices by their names. */
function optionsOf({ options: { knownSpeakers, ...options } }) {
  const found = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== null && value.length !== 0));
  if (knownSpeakers.length) found.knownSpeakerNames = knownSpeakers.map(({ name }) => name);
  return found;
}
