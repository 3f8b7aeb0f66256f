/**
 * What has come and waits for the application's handlers.
 *
 * In: pieces of work, in the order in which things came. Out: each of them done, one after the other. Invariants: one that returns a promise is
 * waited for before the next; whoever brings more than {@link QUEUE} waits for room.
 */

/** What may wait for handlers, or for a loop over the client. */
export const QUEUE = 256;

/** Those who wait for the same thing: several may, the reader of the stream and the one of the datagrams for example. */
export class Waiters {
  private waiting: (() => void)[] = [];

  /** Settles at the next {@link all}. */
  next(): Promise<void> {
    return new Promise((settle) => this.waiting.push(settle));
  }

  all(): void {
    for (const settle of this.waiting.splice(0)) settle();
  }
}

export class Inbox {
  private work: (() => Promise<void>)[] = [];
  private working = false;
  private waiters = new Waiters();

  push(work: () => Promise<void>): void {
    this.work.push(work);
    if (!this.working) void this.run();
  }

  /** Waits while it is full; no longer where `excused`, which is asked again at each {@link ask}. */
  async room(excused: () => boolean): Promise<void> {
    while (this.work.length >= QUEUE && !excused()) await this.waiters.next();
  }

  /** Has those who wait for room ask again whether they are excused. */
  ask(): void {
    this.waiters.all();
  }

  private async run(): Promise<void> {
    this.working = true;
    for (let work = this.work.shift(); work; work = this.work.shift()) {
      this.waiters.all();
      await work();
    }
    this.working = false;
  }
}

/** A handler that fails is the application's mistake: it is told on the console, and the others are called all the same. */
export async function called(handler: () => void | Promise<void>): Promise<void> {
  try {
    const waits = handler();
    if (waits) await waits;
  } catch (error) {
    console.error("fanfare: a handler failed:", error);
  }
}
