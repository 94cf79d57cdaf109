// The machine: its GPUs, jobs and disk in words and bars, and the way out.

import { askJson } from "./api.js";
import { bytes } from "./format.js";
import { html } from "./html.js";
import { keepToken, worker } from "./state.js";
import { S } from "./strings.js";

const PING_MS = 5000;

export function Worker() {
  return html`
    <footer class="worker">
      ${worker.value && html`<ul class="gauges">${gaugesOf(worker.value).map(Gauge)}</ul>`}
      <a href="docs">${S.apiDocs}</a>
      <button type="button" class="plain" onClick=${leave}>${S.leave}</button>
    </footer>`;
}

/** A disk as full as this is soon full. */
const TIGHT = 0.95;

/** Name, words, share (0 to 1; null: no bar) of what is busy or full, and whether somebody should see to it. */
function gaugesOf({ gpus, gpuName, activeJobs, maxConcurrentJobs, waitingJobs, diskFreeBytes, diskSizeBytes }) {
  const gauges = [[S.jobs(gpuName), S.working(activeJobs, maxConcurrentJobs, waitingJobs), share(activeJobs, maxConcurrentJobs)]];
  if (gpus.length) gauges.unshift(gaugeOfGpus(gpus, gpuName));
  if (diskFreeBytes !== null) {
    const used = share(diskSizeBytes - diskFreeBytes, diskSizeBytes);
    gauges.push([S.disk, S.free(bytes(diskFreeBytes)), used, used > TIGHT]);
  }
  return gauges;
}

function gaugeOfGpus(gpus, gpuName) {
  const up = gpus.filter((gpu) => gpu.up);
  const uses = up.map((gpu) => gpu.utilization).filter((use) => use !== null);
  const use = uses.length ? uses.reduce((sum, one) => sum + one, 0) / uses.length : null;
  const down = gpus.length - up.length;
  return [S.gpus(gpus.length, gpuName), S.gpuUse(use, down), use, down > 0];
}

const share = (part, whole) => (whole ? Math.min(part / whole, 1) : null);

function Gauge([name, words, part, isBad]) {
  return html`
    <li class=${isBad ? "gauge bad" : "gauge"}>
      <span>${name}</span>
      <span>${words}</span>
      ${part !== null && html`<meter value=${part} aria-label=${`${name}: ${words}`}></meter>`}
    </li>`;
}

/** Forget the token, and all that was loaded by it. */
function leave() {
  keepToken("");
  history.replaceState(null, "", location.pathname);
  location.reload();
}

/** Ask how the machine is, every few seconds while somebody looks. */
export function watchWorker() {
  const look = async () => {
    if (!document.hidden) worker.value = await askJson("v1/ping").catch(() => worker.value);
  };
  look();
  const timer = setInterval(look, PING_MS);
  return () => clearInterval(timer);
}
