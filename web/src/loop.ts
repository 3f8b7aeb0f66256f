/**
 * The messages for one `for await` over the client.
 *
 * In: messages. Out: the same, one after the other. Invariant: no more than {@link QUEUE} wait here; whoever adds the
 * next waits for room.
 */

import { QUEUE, Waiters } from "./inbox.js";
import type { Message } from "./types.js";

/** The messages for one loop over the client. */
export class Loop implements AsyncIterator<Message> {
  private messages: Message[] = [];
  private over = false;
  private wake = new Waiters();
  private room = new Waiters();

  constructor(private readonly leave: () => void) {}

  async push(message: Message): Promise<void> {
    this.messages.push(message);
    this.wake.all();
    if (this.messages.length >= QUEUE) await this.room.next();
  }

  end(): void {
    this.over = true;
    this.wake.all();
    this.room.all();
  }

  async next(): Promise<IteratorResult<Message, undefined>> {
    for (;;) {
      const value = this.messages.shift();
      if (this.messages.length < QUEUE) this.room.all();
      if (value) return { value, done: false };
      if (this.over) return { value: undefined, done: true };
      await this.wake.next();
    }
  }

  async return(): Promise<IteratorResult<Message, undefined>> {
    this.leave();
    this.messages = [];
    this.end();
    return { value: undefined, done: true };
  }
}
