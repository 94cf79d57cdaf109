// A recording's waveform as the worker keeps it (docs/api.md): read in pieces, the coarsest zoom first.

import { address } from "./api.js";

const HEAD_BYTES = 2 ** 16;
const PIECE = 2 ** 15;
/** Peaks in a piece. */

/** Open a waveform: {seconds, read(from, to, columns)}, where `read` gives [least, greatest] of each column, -1 to 1.
 *  `again` gets a path with another ticket, once this one is not good any more. */
export async function loadPeaks(path, again) {
  const source = { path, again };
  const head = new DataView(await part(source, 0, HEAD_BYTES));
  const rate = head.getUint32(8, true);
  const zooms = Array.from({ length: head.getUint16(6, true) }, (_, index) => ({
    per: head.getUint32(24 + 16 * index, true),
    count: head.getUint32(28 + 16 * index, true),
    at: Number(head.getBigUint64(32 + 16 * index, true)),
    pieces: new Map(),
  }));
  const seconds = Number(head.getBigUint64(16, true)) / rate;
  return { seconds, read: (from, to, columns) => read(source, zooms, rate, from, to, columns) };
}

async function read(source, zooms, rate, from, to, columns) {
  const wanted = ((to - from) * rate) / columns;
  const zoom = zooms.find(({ per }) => per <= wanted) ?? zooms.at(-1);
  const at = (seconds) => Math.max(0, Math.min(zoom.count, (seconds * rate) / zoom.per));
  const pieces = [];
  for (let piece = Math.floor(at(from) / PIECE); piece <= Math.floor(at(to) / PIECE); piece++) {
    pieces[piece] = await pieceOf(source, zoom, piece);
  }
  const step = (to - from) / columns;
  return Array.from({ length: columns }, (_, column) => {
    const first = Math.floor(at(from + column * step));
    return extent(pieces, first, Math.max(first + 1, Math.floor(at(from + (column + 1) * step))), zoom.count);
  });
}

function extent(pieces, first, last, count) {
  let [least, greatest] = [0, 0];
  for (let peak = first; peak < Math.min(last, count); peak++) {
    const piece = pieces[Math.floor(peak / PIECE)];
    const place = (peak % PIECE) * 2;
    least = Math.min(least, piece[place] ?? 0);
    greatest = Math.max(greatest, piece[place + 1] ?? 0);
  }
  return [least / 32768, greatest / 32768];
}

function pieceOf(source, zoom, piece) {
  if (!zoom.pieces.has(piece)) {
    const first = piece * PIECE;
    const length = Math.min(PIECE, zoom.count - first) * 4;
    const loaded = length > 0 ? part(source, zoom.at + first * 4, length).then((found) => new Int16Array(found)) : [];
    zoom.pieces.set(piece, loaded);
    loaded.catch?.(() => zoom.pieces.delete(piece));
  }
  return zoom.pieces.get(piece);
}

async function part(source, from, length, mayAskAgain = true) {
  const headers = { Range: `bytes=${from}-${from + length - 1}` };
  const response = await fetch(address(source.path), { headers, referrerPolicy: "no-referrer" });
  if (response.status === 401 && mayAskAgain) {
    source.path = await source.again();
    return part(source, from, length, false);
  }
  if (!response.ok) throw new Error(`the waveform: ${response.status}`);
  return response.arrayBuffer();
}
