// Which word is spoken at a time.

import { placeAt, rows } from "./rows.js";

/** Its row's place and its number there; -1 where no word is spoken. A pause after a word is still the word's. */
export function spokenAt(seconds) {
  const at = placeAt(seconds);
  const row = rows.value[at];
  if (!row || row.missing || seconds > row.end + 0.3) return { at: -1, word: -1 };
  return { at, word: row.words.findLastIndex((word) => word.start <= seconds) };
}
