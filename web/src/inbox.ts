/**
 * The queue of what waits for the application's handlers.
 *
 * In: tasks, in the order in which things came. Out: each of them run, one after the other, and awaited before the
 * next. Invariant: when more than {@link QUEUE} wait, whoever adds the next waits for room.
 */

/** The most that may wait for handlers, or for a loop over the client. */
export const QUEUE = 256;

/** Those who wait for the same thing: the reader of the stream and the reader of the datagrams may, for example. */
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
  private tasks: (() => Promise<void>)[] = [];
  private running = false;
  private waiters = new Waiters();

  /** How much waits. */
  get length(): number {
    return this.tasks.length;
  }

  push(task: () => Promise<void>): void {
    this.tasks.push(task);
    if (!this.running) void this.run();
  }

  /** Waits while the queue is full, unless `excused` says not to; {@link ask} has it asked again. */
  async room(excused: () => boolean): Promise<void> {
    while (this.tasks.length >= QUEUE && !excused()) await this.waiters.next();
  }

  /** Those who wait for room ask again whether they are excused. */
  ask(): void {
    this.waiters.all();
  }

  private async run(): Promise<void> {
    this.running = true;
    for (let task = this.tasks.shift(); task; task = this.tasks.shift()) {
      this.waiters.all();
      await task();
    }
    this.running = false;
  }
}

/**
 * Calls a handler. One that fails is the application's mistake: it is logged, and the others are called all the same.
 */
export async function called(handler: () => void | Promise<void>): Promise<void> {
  try {
    const waits = handler();
    if (waits) await waits;
  } catch (error) {
    console.error("fanfare: a handler failed:", error);
  }
}
