/**
 * A wait of any length that can be cut short.
 *
 * In: how long, and a signal. Out: the end of the wait. Invariant: it never ends early by itself, although a timer takes
 * no more than 24 days.
 */

import { unlessAborted } from "./link.js";

/** The longest that a timer takes, in milliseconds. One that is set to more fires at once. */
const LONGEST_TIMER = 2 ** 31 - 1;

/** Waits so many milliseconds; rejects when the signal says so. */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  try {
    for (let left = ms; left >= 0; left -= LONGEST_TIMER) {
      const piece = Math.min(left, LONGEST_TIMER);
      await unlessAborted(new Promise<void>((settle) => (timer = setTimeout(settle, piece))), signal);
    }
  } finally {
    clearTimeout(timer);
  }
}
