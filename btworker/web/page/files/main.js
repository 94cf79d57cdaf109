// The page: the token first, then everything else.

import { brand } from "./brand.js";
import { Dialogs } from "./dialogs.js";
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
import { chosen, job, online, token } from "./state.js";
import { S } from "./strings.js";
import { Submit } from "./submit.js";
import { View } from "./view.js";
import { watchWorker, Worker } from "./worker.js";

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

watchKeys();
effect(() => {
  document.title = job.value ? `${titleOf(job.value)} – ${S.name}` : S.name;
});
const place = document.getElementById("page");
place.replaceChildren();
render(html`<${Page} />`, place);
