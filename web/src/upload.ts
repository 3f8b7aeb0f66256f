/**
 * A stream of the client's own that is an argument of a call.
 *
 * In: an iterable, and the server's credit. Out: its items as frames, and how it ended. Invariants: an item is asked
 * for only when the server takes one, and written before the next is asked for; when nobody reads the stream any more,
 * the iterable is closed and nothing is written.
 */

import { encodeClient } from "./codec.js";
import { Code } from "./codes.js";
import type { ClientFrame, Failure } from "./frames.js";
import { Waiters } from "./inbox.js";
import type { Link } from "./link.js";
import { payloadFor } from "./payload.js";

/** The most characters of an error that the server is told. */
const DETAIL = 1_000;

/** What the server is told of something that went wrong here. */
export function failure(code: number, error: unknown): Failure {
  const detail = error instanceof Error ? error.message : String(error);
  return { code, detail: detail.slice(0, DETAIL), data: { format: "binary", bytes: new Uint8Array(0) } };
}

export class Upload {
  private credit = 0;
  private isOver = false;
  private readonly wake = new Waiters();
  private iterator: AsyncIterator<unknown> | Iterator<unknown> | undefined;

  constructor(
    readonly stream: number,
    private readonly source: AsyncIterable<unknown> | Iterable<unknown>,
    private readonly link: Link,
  ) {}

  /** The server takes so many more items. */
  give(items: number): void {
    this.credit += items;
    this.wake.all();
  }

  /** Nobody reads it any more. */
  stop(): void {
    if (this.isOver) return;
    this.isOver = true;
    this.wake.all();
    this.close();
  }

  /** Sends it. */
  async run(): Promise<void> {
    let failed: Failure | undefined;
    try {
      failed = await this.pump();
    } catch (error) {
      failed = failure(Code.CallFailed, error);
    }
    if (this.isOver) return;
    this.isOver = true;
    if (failed) this.close();
    // Fails only with the connection, and then nobody reads it.
    await this.write({ kind: "streamEnd", stream: this.stream, failure: failed }).catch(() => {});
  }

  /** Sends the items. Gives why it cannot send all of them. */
  private async pump(): Promise<Failure | undefined> {
    const { source } = this;
    const iterator = Symbol.asyncIterator in source ? source[Symbol.asyncIterator]() : source[Symbol.iterator]();
    this.iterator = iterator;
    const { payloadBytes } = this.link.welcome.limits;
    for (;;) {
      while (this.credit === 0 && !this.isOver) await this.wake.next();
      if (this.isOver) return undefined;
      const { value, done } = await iterator.next();
      if (this.isOver || done) return undefined;
      const item = payloadFor(value);
      const length = item.bytes.length;
      if (length > payloadBytes) {
        return failure(Code.PayloadTooLarge, `an item has ${length} bytes; the server takes ${payloadBytes}`);
      }
      this.credit--;
      await this.write({ kind: "streamItem", stream: this.stream, item });
    }
  }

  private write(frame: ClientFrame): Promise<void> {
    return this.link.write(encodeClient(frame));
  }

  /** Tells the iterable that nobody wants more of it. What it says to that is nobody's business. */
  private close(): void {
    void Promise.resolve().then(() => this.iterator?.return?.()).catch(() => {});
  }
}
