/**
 * How names of others are shown to a person, so that two that differ look different: protocol/src/visible.rs in the browser.
 *
 * In: any text. Out: the same with what has no shape of its own, or that of something else, as `\u{200b}`. Invariant: protocol/visible.json holds
 * this and the server's side to the same answers.
 */

/** Control characters and marks of direction; other spaces and what breaks lines; what is not drawn; private use; what is no character. */
const HIDDEN = new RegExp(
  "[\\0-\\x1f\\x7f-\\x9f\\u061c\\u200e\\u200f\\u202a-\\u202e\\u2066-\\u2069" +
    "\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000" +
    "\\xad\\u034f\\u115f\\u1160\\u17b4\\u17b5\\u180b-\\u180f\\u200b-\\u200d\\u2060-\\u206f\\u2800\\u3164\\ufe00-\\ufe0f\\ufeff" +
    "\\uffa0\\ufff0-\\ufffb\\u{1bca0}-\\u{1bca3}\\u{1d173}-\\u{1d17a}\\u{e0000}-\\u{e0fff}" +
    "\\ue000-\\uf8ff\\u{f0000}-\\u{10ffff}\\ufdd0-\\ufdef\\ufffe\\uffff]|\\p{Noncharacter_Code_Point}|\\\\(?=u\\{)|^ +| +$",
  "gu",
);

/** A name as a person may see it. */
export function visible(name: string): string {
  return name.replace(HIDDEN, (found) => [...found].map((character) => `\\u{${character.codePointAt(0)?.toString(16)}}`).join(""));
}
