// The top: where recordings are dropped, with the options that matter, and the rest folded away.

import { sendIcon } from "./brand.js";
import { filesOf } from "./dropped.js";
import { html } from "./html.js";
import { LANGUAGES } from "./languages.js";
import { useEffect, useRef, useState } from "./preact-hooks.js";
import { worker } from "./state.js";
import { S } from "./strings.js";
import { upload } from "./uploading.js";

const DEFAULTS = { language: "", model: "", speakers: "found", prompt: "", keywords: "" };

export function Submit() {
  const [options, setOptions] = useState(DEFAULTS);
  const [isOver, setOver] = useState(false);
  const chooser = useRef();
  const send = (files) => files.length && upload(files, asked(options));
  useDrops(setOver, send);
  const chosen = () => {
    send([...chooser.current.files]);
    chooser.current.value = "";
  };
  return html`
    <section class=${`submit${isOver ? " over" : ""}`} aria-label=${S.newRecording}>
      <div class="drop">
        ${sendIcon()}
        <span>${isOver ? S.dropNow : S.dropHere}</span>
        <button type="button" class="primary" onClick=${() => chooser.current.click()}>${S.chooseFiles}</button>
        <input ref=${chooser} type="file" multiple hidden tabindex="-1" aria-label=${S.chooseFiles} onChange=${chosen} />
      </div>
      <${Options} options=${options} set=${(more) => setOptions({ ...options, ...more })} />
    </section>`;
}

function Options({ options, set }) {
  const folded = useRef();
  useEffect(() => foldedByOthers(folded.current), []);
  const models = worker.value?.models ?? [];
  const of = (name) => ({ value: options[name], onChange: (event) => set({ [name]: event.target.value }) });
  return html`
    <div class="options">
      <label>${S.language}
        <select ...${of("language")}>
          <option value="">${S.detect}</option>
          ${LANGUAGES.map(([code, name]) => html`<option value=${code}>${name}</option>`)}
        </select>
      </label>
      ${tellsApart() && html`
        <label>${S.speakers}
          <select ...${of("speakers")}>
            ${S.speakerChoices.map(([value, text]) => html`<option value=${value}>${text}</option>`)}
          </select>
        </label>`}
      <details ref=${folded}>
        <summary>${S.more}</summary>
        <div class="more">
          <label>${S.model}
            <select ...${of("model")}>
              <option value="">${S.usualModel}</option>
              ${models.map((name) => html`<option value=${name}>${name}</option>`)}
            </select>
          </label>
          <label>${S.keywords}<input maxlength="4000" placeholder=${S.keywordsExample} ...${of("keywords")} /></label>
          <label>${S.prompt}<input maxlength="4000" ...${of("prompt")} /></label>
        </div>
      </details>
    </div>`;
}

/** What is open over the page is closed by Escape, and by a press next to it. */
function foldedByOthers(details) {
  const close = (event) => {
    if (event.type === "keydown" ? event.key === "Escape" : !details.contains(event.target)) details.open = false;
  };
  const names = ["keydown", "pointerdown"];
  names.forEach((name) => addEventListener(name, close));
  return () => names.forEach((name) => removeEventListener(name, close));
}

/** Whether speakers can be told apart; while the worker still starts, nothing says that they cannot. */
const tellsApart = () => !worker.value?.diarizationError;

/** The options as the API has them. */
function asked({ language, model, speakers, prompt, keywords }) {
  const found = { outputs: ["json", "srt", "txt"] };
  if (language) found.language = language;
  if (model) found.model = model;
  if (prompt) found.prompt = prompt;
  if (keywords.trim()) found.keywords = keywords.split(",").map((one) => one.trim()).filter(Boolean);
  if (!tellsApart()) return found;
  if (speakers !== "no") found.diarizationEnabled = true;
  if (Number(speakers)) found.numSpeakers = Number(speakers);
  return found;
}

/** The whole window takes drops, so that nobody misses and opens the file instead. */
function useDrops(setOver, send) {
  useEffect(() => {
    const isFiles = (event) => event.dataTransfer?.types.includes("Files");
    const over = (event) => isFiles(event) && (event.preventDefault(), setOver(true));
    const left = (event) => event.relatedTarget || setOver(false);
    const dropped = async (event) => {
      if (!isFiles(event)) return;
      event.preventDefault();
      setOver(false);
      send(await filesOf(event.dataTransfer));
    };
    const pairs = [["dragover", over], ["dragleave", left], ["drop", dropped]];
    pairs.forEach(([name, act]) => addEventListener(name, act));
    return () => pairs.forEach(([name, act]) => removeEventListener(name, act));
  });
}
