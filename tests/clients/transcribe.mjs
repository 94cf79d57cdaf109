// Everything that the official openai package does with audio.
//   node transcribe.mjs URL TOKEN FILE NO_SOUND  -> JSON of what it got
import { createReadStream } from "node:fs";

const { default: OpenAI } = await import(process.env.OPENAI_PACKAGE ?? "openai");
const [baseURL, apiKey, path, noSound] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const ask = (options) =>
  client.audio.transcriptions.create({ file: createReadStream(path), model: "whisper-1", language: "en", ...options });

const json = await ask({});
const verbose = await ask({ response_format: "verbose_json", timestamp_granularities: ["word", "segment"] });
const srt = await ask({ response_format: "srt" });
let streamed = "";
let done = null;
for await (const event of await ask({ stream: true })) {
  if (event.type === "transcript.text.delta") streamed += event.delta;
  if (event.type === "transcript.text.done") done = event.text;
}
const models = [];
for await (const model of client.models.list()) models.push(model.id);
const errors = {};
for (const [name, options] of [
  ["format", { response_format: "yaml" }],
  ["model", { model: "gpt-7" }],
  ["sound", { file: createReadStream(noSound) }],
]) {
  try {
    await ask(options);
  } catch (error) {
    errors[name] = { status: error.status, code: error.code, param: error.param };
  }
}
console.log(
  JSON.stringify({ node: Number.parseInt(process.versions.node), text: json.text, words: verbose.words.length, segments: verbose.segments.length, srt, streamed, done, models, errors }),
);
