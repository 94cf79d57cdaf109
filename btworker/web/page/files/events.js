// A job's events by fetch, since an EventSource cannot send a token. A broken line is taken up again where it broke.

import { ask } from "./api.js";

const PAUSES_MS = [500, 1000, 2000, 5000];

/** Follow a job to its end: `take(name, data)` for each event. Ends with the job, or when `signal` aborts. */
export async function follow(jobId, take, signal) {
  let last = "";
  for (let failures = 0; !signal.aborted; failures++) {
    try {
      const headers = last ? { "Last-Event-ID": last } : {};
      const response = await ask(`v1/jobs/${jobId}/events`, { headers, signal });
      for await (const event of eventsOf(response.body)) {
        failures = 0;
        if (event.id) last = event.id;
        if (event.name) take(event.name, JSON.parse(event.data));
        if (event.name === "done") return;
      }
    } catch (error) {
      if (error.name === "AbortError" || (error.status >= 400 && error.status < 500)) return;
    }
    await pause(PAUSES_MS[Math.min(failures, PAUSES_MS.length - 1)]);
  }
}

async function* eventsOf(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) yield eventOf(block);
  }
}

function eventOf(block) {
  const event = { name: "", id: "", data: "" };
  for (const line of block.split("\n")) {
    const [field, value] = [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 1).trimStart()];
    if (field === "event") event.name = value;
    else if (field === "id") event.id = value;
    else if (field === "data") event.data += value;
  }
  return event;
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
