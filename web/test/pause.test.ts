/** A wait is as long as it was asked for, and ends when it is cut short. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { pause } from "../src/pause.js";

/** The most that browsers and Node take; a timer that is set to more fires at once. */
const LONGEST_TIMER = 2 ** 31 - 1;

/** Waits with timers that fire at once, and gives what they were set to. */
async function timers(ms: number): Promise<number[]> {
  const real = globalThis.setTimeout;
  const set: number[] = [];
  const immediate = (fire: () => void, after = 0) => {
    set.push(after);
    return real(fire, 0);
  };
  globalThis.setTimeout = immediate as unknown as typeof setTimeout;
  try {
    await pause(ms, new AbortController().signal);
  } finally {
    globalThis.setTimeout = real;
  }
  return set;
}

test("a wait that is longer than a timer takes is made of several", async () => {
  // What Goodbye can say at most, and with a pause of the client's own on top.
  for (const ms of [0, 1, LONGEST_TIMER, LONGEST_TIMER + 1, 2 ** 32 - 1, 2 ** 32 + 30_000]) {
    const set = await timers(ms);
    assert.ok(set.every((one) => one >= 0 && one <= LONGEST_TIMER), `${ms}: ${set}`);
    assert.equal(set.reduce((sum, one) => sum + one, 0), ms);
  }
});

test("a wait of weeks can be cut short", async () => {
  const cut = new AbortController();
  const waiting = pause(2 ** 32 - 1, cut.signal);
  cut.abort(new Error("enough"));
  await assert.rejects(waiting, /enough/);
});
