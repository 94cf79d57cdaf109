// Every request shape of shapes.json by the official openai package.
//   node shapes.mjs URL TOKEN TALK DIALOGUE  -> JSON: name -> "" or what was wrong
import { createReadStream, readFileSync } from "node:fs";

const { default: OpenAI } = await import(process.env.OPENAI_PACKAGE ?? "openai");
const [baseURL, apiKey, talk, dialogue] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const files = { talk, dialogue };
const at = (found, path) => path.split(".").reduce((value, step) => value?.[step], found);

async function wrong(shape) {
  const call = client.audio[shape.call ?? "transcriptions"];
  let answer = await call.create({ file: createReadStream(files[shape.file ?? "talk"]), ...shape.options });
  if (shape.events) {
    const events = [];
    for await (const event of answer) events.push(event);
    const kinds = [...new Set(events.map((event) => event.type))];
    if (kinds.join() !== shape.events.join()) return `events ${kinds}`;
    const text = events.filter((event) => event.delta).map((event) => event.delta).join("");
    answer = events.at(-1);
    if (text !== answer.text) return "the deltas are not the text";
  }
  if (shape.part) return String(answer).includes(shape.part) ? "" : `no ${shape.part}`;
  for (const path of shape.has ?? []) if (at(answer, path) == null) return `no ${path}`;
  for (const [path, value] of Object.entries(shape.is ?? {}))
    if (at(answer, path) !== value) return `${path} is ${at(answer, path)}`;
  return "";
}

const found = {};
for (const shape of JSON.parse(readFileSync(new URL("shapes.json", import.meta.url)))) {
  try {
    found[shape.name] = await wrong(shape);
  } catch (error) {
    found[shape.name] = String(error);
  }
}
console.log(JSON.stringify(found));
