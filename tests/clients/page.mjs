// The page in Firefox, by WebDriver BiDi: what somebody sees who sends a recording, presses a word and names a speaker. One
// line of JSON on stdout.
import puppeteer from "puppeteer-core";

const [url, token, firefox, file] = process.argv.slice(2);
const WITHIN_MS = 120_000;
const window = { width: 1360, height: 820 };
const browser = await puppeteer.launch({ browser: "firefox", executablePath: firefox, timeout: WITHIN_MS, defaultViewport: window });
const page = await browser.newPage();
page.setDefaultTimeout(WITHIN_MS);
const seen = { errors: [], elsewhere: [] };
page.on("pageerror", (error) => seen.errors.push(String(error)));
page.on("request", (request) => {
  if (!/^(blob:|data:)/.test(request.url()) && !request.url().startsWith(url)) seen.elsewhere.push(request.url());
});

await page.goto(url);
await (await page.waitForSelector("#token")).type(token);
await page.keyboard.press("Enter");
const chooser = await page.waitForSelector("input[type=file]");
await chooser.uploadFile(file);
await page.waitForFunction(() => [...document.querySelectorAll(".head button")].some((one) => one.textContent === "Export"));
await page.waitForSelector(".player");
seen.text = await page.$$eval(".row .text", (all) => all.map((one) => one.textContent));

const [x, y] = await page.evaluate(() => {
  const text = document.querySelector(".row .text");
  text.scrollIntoView({ block: "center" });
  const node = text.firstChild;
  const range = new Range();
  range.setStart(node, node.data.indexOf(" ") + 1);
  range.setEnd(node, node.data.indexOf(" ") + 3);
  const box = range.getBoundingClientRect();
  return [box.x + box.width / 2, box.y + box.height / 2];
});
await page.mouse.click(x, y);
await page.waitForFunction(() => [...(CSS.highlights.get("spoken") ?? [])].length === 1);
seen.marked = await page.evaluate(() => String([...CSS.highlights.get("spoken")][0]));
// A machine without a sound card plays nothing, but what it would play is decoded all the same
seen.loudest = await page.evaluate(async () => {
  const { audio } = await import("./page/playback.js");
  const sound = await (await fetch(audio.src)).arrayBuffer();
  const decoded = await new OfflineAudioContext(1, 1, 16000).decodeAudioData(sound);
  return decoded.getChannelData(0).reduce((loudest, sample) => Math.max(loudest, Math.abs(sample)), 0);
});

await (await page.waitForSelector(".row .name")).click();
await (await page.waitForSelector("input.name")).type("Anna");
await page.keyboard.press("Enter");
await page.waitForFunction(() => document.querySelector(".row .name bdi")?.textContent === "Anna");
console.log(JSON.stringify(seen));
await browser.close();
