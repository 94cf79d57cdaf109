// Words without elements of their own: which one is under the mouse, and where it is, so that it can be marked. A row's
// text is one piece of text, whatever its number of words: eight hours of them stay light.

import { rows } from "./rows.js";

const known = new WeakMap();

/** A row's text as it is shown: that of its words, where it has some. */
export const textOf = (row) => lettersOf(row).text;

/** The word at a point of the window: {at: its row's place, word: its number there}; null where there is none. */
export function wordUnder({ clientX, clientY }) {
  const { node, offset } = caretAt(clientX, clientY) ?? {};
  const row = node?.parentElement?.closest(".text")?.closest("[data-at]");
  if (!row) return null;
  const at = Number(row.dataset.at);
  const near = lettersOf(rows.value[at]).starts.findLastIndex((start) => start <= offset);
  const isUnder = (word) => {
    const boxes = rangeOf(row, word)?.getClientRects() ?? [];
    return [...boxes].some(({ left, right, top, bottom }) => clientX >= left && clientX <= right && clientY >= top && clientY <= bottom);
  };
  const word = [near, near - 1].find(isUnder);
  return word === undefined ? null : { at, word };
}

/** Where a word is in a row's element; null where it is not in the document. */
export function rangeOf(element, word) {
  const node = element?.querySelector(".text")?.firstChild;
  const { starts, ends } = lettersOf(rows.value[Number(element?.dataset.at)] ?? { words: [] });
  if (node?.nodeType !== Node.TEXT_NODE || !(ends[word] <= node.length)) return null;
  const range = new Range();
  range.setStart(node, starts[word]);
  range.setEnd(node, ends[word]);
  return range;
}

/** Mark a range by a name that page.css knows as ::highlight(name); null takes the mark away. */
export function mark(name, range) {
  if (range) globalThis.CSS.highlights?.set(name, new Highlight(range));
  else globalThis.CSS.highlights?.delete(name);
}

/** {text, starts, ends}: the letters, and the first and the one after the last of each word. */
function lettersOf(row) {
  if (!known.has(row)) known.set(row, row.words?.length ? joined(row.words) : { text: row.text ?? "", starts: [], ends: [] });
  return known.get(row);
}

function joined(words) {
  let text = "";
  const [starts, ends] = [[], []];
  for (const { word } of words) {
    if (text && /^\s/.test(word)) text += " ";
    starts.push(text.length);
    text += word.trim();
    ends.push(text.length);
  }
  return { text, starts, ends };
}

function caretAt(x, y) {
  if (document.caretPositionFromPoint) {
    const caret = document.caretPositionFromPoint(x, y);
    return caret && { node: caret.offsetNode, offset: caret.offset };
  }
  const range = document.caretRangeFromPoint?.(x, y);
  return range && { node: range.startContainer, offset: range.startOffset };
}
