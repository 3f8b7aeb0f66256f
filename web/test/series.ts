/**
 * What comes one after the other, for tests that wait for it.
 *
 * In: items, at any time. Out: each once, in their order. Invariant: nobody waits longer than a deadline, and who does
 * is told what for.
 */

/** Longer than anything here takes, in milliseconds. */
export const DEADLINE = 20_000;

/** What comes one after the other, and can be waited for. */
export class Series<T> {
  private items: T[] = [];
  private takers: ((item: T) => void)[] = [];

  push(item: T): void {
    const taker = this.takers.shift();
    if (taker) taker(item);
    else this.items.push(item);
  }

  /** How many have come and were not taken. */
  get left(): number {
    return this.items.length;
  }

  async next(what: string): Promise<T> {
    if (this.items.length > 0) return this.items.shift() as T;
    let timer: ReturnType<typeof setTimeout> | undefined;
    try {
      return await new Promise<T>((settle, reject) => {
        this.takers.push(settle);
        timer = setTimeout(() => reject(new Error(`waited for ${what}`)), DEADLINE);
      });
    } finally {
      clearTimeout(timer);
    }
  }
}
