// Upload a file with tus-js-client, over whatever happens to the server meanwhile.
//   node upload.mjs URL TOKEN FILE  -> {"url", "job", "retries"}
import { createReadStream, statSync } from "node:fs";
import { Upload } from "tus-js-client";

const [endpoint, token, path] = process.argv.slice(2);
let retries = 0;
let job = null;

const upload = new Upload(createReadStream(path), {
  endpoint,
  headers: { Authorization: `Bearer ${token}` },
  metadata: { filename: "long.wav", submit: "{}" },
  uploadSize: statSync(path).size,
  chunkSize: 1024 * 1024,
  retryDelays: Array(100).fill(200),
  onShouldRetry: () => {
    retries += 1;
    return true;
  },
  onAfterResponse: (_request, response) => {
    job = response.getHeader("Btworker-Job") ?? job;
  },
  onProgress: (sent) => process.stderr.write(`${sent}\n`),
  onError: (error) => {
    console.error(String(error));
    process.exit(1);
  },
  onSuccess: () => console.log(JSON.stringify({ url: upload.url, job, retries })),
});
upload.start();
