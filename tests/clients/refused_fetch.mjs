// Node's own fetch with a form, as people write it: prints the status and the error's code.
import { openAsBlob } from "node:fs";

const [url, token, path] = process.argv.slice(2);
const form = new FormData();
form.append("file", await openAsBlob(path), "talk.wav");
const answer = await fetch(url, { method: "POST", body: form, headers: { Authorization: `Bearer ${token}` } });
console.log(answer.status, (await answer.json()).error.code);
