/**
 * The items of one call's result, for a loop over them.
 *
 * In: items as they come, and how the call ended. Out: the items as values, one after the other, and then the end.
 * Invariants: credit is given back as items are taken, so that no more wait here than the server had credit for; a loop
 * that is left, and an item that cannot be read, cancel the call.
 */

import { FanfareError } from "./errors.js";
import type { Formatted } from "./frames.js";
import { Waiters } from "./inbox.js";
import { valueOf } from "./payload.js";

/** How many items of a result may wait to be taken, and so the credit that the server has. */
export const WINDOW = 32;

/** What a loop does to its call. */
export interface Call {
  /** Lets so many more items come. */
  more(items: number): void;
  /** Does not want any more. */
  drop(): void;
  /** Waits, and has it known that somebody does. */
  awaited<T>(promise: Promise<T>): Promise<T>;
}

export class Items<T> implements AsyncIterableIterator<T> {
  private waiting: Formatted[] = [];
  /** Items taken that the server has not got credit for again. */
  private taken = 0;
  private error: FanfareError | undefined;
  private isOver = false;
  private readonly wake = new Waiters();

  constructor(private readonly call: Call) {}

  item(item: Formatted): void {
    this.waiting.push(item);
    this.wake.all();
  }

  end(): void {
    this.isOver = true;
    this.wake.all();
  }

  /** Told behind the items that have come, unless the loop itself does not want them any more. */
  fail(error: FanfareError): void {
    if (error.kind === "aborted") this.waiting = [];
    this.error = error;
    this.end();
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async next(): Promise<IteratorResult<T, undefined>> {
    for (;;) {
      const item = this.waiting.shift();
      if (item) return { value: this.take(item), done: false };
      const { error } = this;
      this.error = undefined;
      if (error) throw error;
      if (this.isOver) return { value: undefined, done: true };
      await this.call.awaited(this.wake.next());
    }
  }

  async return(): Promise<IteratorResult<T, undefined>> {
    this.leave();
    return { value: undefined, done: true };
  }

  private leave(): void {
    this.waiting = [];
    this.error = undefined;
    this.end();
    this.call.drop();
  }

  private take(item: Formatted): T {
    this.taken++;
    // By halves, so that not every item costs a frame.
    if (this.taken > WINDOW / 2) {
      this.call.more(this.taken);
      this.taken = 0;
    }
    try {
      return valueOf(item) as T;
    } catch (cause) {
      this.leave();
      throw new FanfareError("unreadable", "an item of the result cannot be read", undefined, cause);
    }
  }
}
