// Languages that the page offers, by their English names; the API takes all of Whisper's.

const CODES =
  "af ar hy az be bs bg ca zh hr cs da nl en et fi fr gl de el he hi hu is id it ja kn kk ko lv lt mk ms mi mr ne no " +
  "fa pl pt ro ru sr sk sl es sw sv tl ta th tr uk ur vi cy";
const names = new Intl.DisplayNames(["en"], { type: "language" });

/** [code, name], by name. */
export const LANGUAGES = CODES.split(" ")
  .map((code) => [code, names.of(code)])
  .sort(([, one], [, other]) => one.localeCompare(other));
