/**
 * How names of others are shown to a person, so that two that differ look different: protocol/src/visible.rs in the
 * browser, which says what is escaped and what is out of scope.
 *
 * In: any text. Out: the same with what has no shape of its own, or that of something else, as `\u{200b}`. Invariant:
 * protocol/visible.json holds this and the server's side to the same answers. The tables are the same, too, whichever
 * Unicode a browser knows; only whether marks are composed as they should be is asked of the browser, which may not
 * know it of letters that are younger than itself.
 */

import { ATTACHED, HIDDEN } from "./visible-table.js";

/** Where a set of characters begins and ends, in turns. */
function bounds(table: string): number[] {
  let at = 0;
  return table.split(" ").map((number) => (at += parseInt(number, 36)));
}

const hidden = bounds(HIDDEN);
const attached = bounds(ATTACHED);

function has(bounds: number[], character: string): boolean {
  const code = character.codePointAt(0) ?? 0;
  // How many bounds are passed: after an odd number of them one is inside.
  let [low, high] = [0, bounds.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((bounds[middle] ?? 0) <= code) low = middle + 1;
    else high = middle;
  }
  return low % 2 === 1;
}

function put(character: string, escaped: boolean): string {
  return escaped ? `\\u{${character.codePointAt(0)?.toString(16)}}` : character;
}

/** A name as a person may see it. */
export function visible(name: string): string {
  const characters = [...name];
  const until = characters.findLastIndex((character) => character !== " ");
  let shown = "";
  let before = " ";
  for (let at = 0, end = 0; at < characters.length; at = end) {
    const first = characters[at] ?? "";
    for (end = at + 1; end < characters.length && has(attached, characters[end] ?? ""); end++);
    const cluster = characters.slice(at, end);
    const escaped =
      first === " " ? before === " " || at > until
      : first === "\\" ? characters[at + 1] === "u" && characters[at + 2] === "{"
      : has(hidden, first) || has(attached, first);
    const repeats = cluster.some((mark, place) => place > 1 && mark === cluster[place - 1]);
    const text = cluster.join("");
    const seated = !escaped && first !== " " && !repeats && text.normalize("NFC") === text;
    shown += put(first, escaped) + cluster.slice(1).map((mark) => put(mark, !seated)).join("");
    before = first;
  }
  return shown;
}
