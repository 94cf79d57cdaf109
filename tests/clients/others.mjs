// Packages that others build on OpenAI's routes: the AI SDK, whose schemas are strict, and Groq's own.
//   node others.mjs URL TOKEN TALK  -> JSON: name -> the text, or what was wrong
import { createReadStream, readFileSync } from "node:fs";
import { createGroq } from "@ai-sdk/groq";
import { createOpenAI } from "@ai-sdk/openai";
import { experimental_transcribe as transcribe } from "ai";
import Groq from "groq-sdk";

const [baseURL, apiKey, talk] = process.argv.slice(2);
const server = new URL(baseURL).origin;
const openai = createOpenAI({ baseURL, apiKey });
const groq = createGroq({ baseURL: `${server}/openai/v1`, apiKey });
const groqs = new Groq({ baseURL: server, apiKey, maxRetries: 0 });
const audio = readFileSync(talk);
const large = "whisper-large-v3";

const bySdk = (model, providerOptions) => transcribe({ model, audio, providerOptions, maxRetries: 0 });
const byGroq = (options) => groqs.audio.transcriptions.create({ file: createReadStream(talk), model: large, ...options });
const calls = {
  "ai whisper-1": () => bySdk(openai.transcription("whisper-1"), { openai: { language: "en" } }),
  "ai words": () => bySdk(openai.transcription("whisper-1"), { openai: { timestampGranularities: ["word"] } }),
  "ai gpt-4o-transcribe": () => bySdk(openai.transcription("gpt-4o-transcribe"), { openai: { temperature: 0 } }),
  "ai keywords": () => bySdk(openai.transcription("gpt-transcribe"), { openai: { keywords: ["north"], languages: ["en"] } }),
  "ai groq": () => bySdk(groq.transcription(large)),
  "ai groq verbose": () => bySdk(groq.transcription(large), { groq: { responseFormat: "verbose_json" } }),
  groq: () => byGroq({}),
  "groq verbose": () => byGroq({ response_format: "verbose_json", timestamp_granularities: ["word", "segment"] }),
  "groq text": async () => ({ text: (await byGroq({ response_format: "text" })).trim() }),
};

const found = {};
for (const [name, call] of Object.entries(calls)) {
  try {
    found[name] = (await call()).text;
  } catch (error) {
    found[name] = `${error} ${error.cause ?? ""}`;
  }
}
console.log(JSON.stringify(found));
