// Node's http module with a file piped into the request: prints the status and the error's code.
import fs from "node:fs";
import http from "node:http";

const [url, token, path] = process.argv.slice(2);
const head = '--XX\r\nContent-Disposition: form-data; name="file"; filename="talk.wav"\r\n\r\n';
const tail = "\r\n--XX--\r\n";
const headers = {
  Authorization: `Bearer ${token}`,
  "Content-Type": "multipart/form-data; boundary=XX",
  "Content-Length": head.length + fs.statSync(path).size + tail.length,
};
const request = http.request(url, { method: "POST", headers }, (answer) => {
  let text = "";
  answer.on("data", (piece) => (text += piece));
  answer.on("end", () => {
    console.log(answer.statusCode, JSON.parse(text).error.code);
    request.destroy();
    file.destroy();
  });
});
request.on("error", (error) => {
  console.log(error.code);
  file.destroy();
});
request.write(head);
const file = fs.createReadStream(path, { highWaterMark: 2 ** 20 });
file.pipe(request, { end: false });
file.on("end", () => request.end(tail));
