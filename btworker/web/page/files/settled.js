// What becomes of a field in which somebody types: it is kept or left once, by Enter or Escape, by leaving it, or when it
// goes away (a row that is scrolled out of sight, a token that is not good any more), so that nothing typed is lost.

import { useLayoutEffect, useRef } from "./preact-hooks.js";

/** A function that settles: `keep(keeps, event)` is called by the first call only, at the latest when the field goes. */
export function useSettled(keep) {
  const settled = useRef(false);
  const newest = useRef(keep);
  newest.current = keep;
  const settle = (keeps, byKey = false) => {
    if (settled.current) return;
    settled.current = true;
    newest.current(keeps, byKey);
  };
  useLayoutEffect(() => () => settle(true), []);
  return settle;
}
