// The page: the token first, then everything else.

import { askJson } from "./api.js";
import { brand } from "./brand.js";
import { Dialogs } from "./dialogs.js";
import { bytes } from "./format.js";
import { html } from "./html.js";
import { JobList } from "./joblist.js";
import { watchKeys } from "./keys.js";
import { Login } from "./login.js";
import { Notices } from "./notices.js";
import { Player } from "./player.js";
import { useEffect } from "./preact-hooks.js";
import { render } from "./preact.js";
import { titleOf, watchAddress } from "./session.js";
import { effect } from "./signals.js";
import { chosen, job, keepToken, online, token, worker } from "./state.js";
import { S } from "./strings.js";
import { Submit } from "./submit.js";
import { View } from "./view.js";

const PING_MS = 5000;

function Page() {
  if (!token.value) return html`<${Login} />`;
  return html`<${Work} /><${Notices} />`;
}

function Work() {
  useEffect(watchAddress, []);
  useEffect(watchWorker, []);
  return html`
    <div class=${`work${chosen.value ? " has-job" : ""}`}>
      <header class="top">
        ${brand()}
        <${Submit} />
      </header>
      ${!online.value && html`<p class="offline" role="alert">${S.offline}</p>`}
      <main class="content">
        <div class="left"><${JobList} /><${Worker} /></div>
        <section class="view" aria-label=${S.recording}><${View} /></section>
      </main>
      <${Player} />
      <${Dialogs} />
    </div>`;
}

function Worker() {
  const { gpuName, activeJobs = 0, maxConcurrentJobs = 0, diskFreeBytes } = worker.value ?? {};
  const words = [S.isReady(gpuName), S.working(activeJobs, maxConcurrentJobs), diskFreeBytes && S.free(bytes(diskFreeBytes))];
  return html`
    <footer class="worker">
      ${worker.value && html`<span class="quiet">${words.filter(Boolean).join(" · ")}</span>`}
      <a href="docs">${S.apiDocs}</a>
      <button type="button" class="plain" onClick=${leave}>${S.leave}</button>
    </footer>`;
}

/** Forget the token, and all that was loaded by it. */
function leave() {
  keepToken("");
  history.replaceState(null, "", location.pathname);
  location.reload();
}

function watchWorker() {
  const look = async () => {
    if (!document.hidden) worker.value = await askJson("v1/ping").catch(() => worker.value);
  };
  look();
  const timer = setInterval(look, PING_MS);
  return () => clearInterval(timer);
}

watchKeys();
effect(() => {
  document.title = job.value ? `${titleOf(job.value)} – ${S.name}` : S.name;
});
const place = document.getElementById("page");
place.replaceChildren();
render(html`<${Page} />`, place);
