/**
 * Waits that end early, or in time.
 *
 * In: how long, a signal, something to wait for. Out: the end of the wait. Invariants: a pause never ends early by
 * itself, although a timer takes no more than 24 days; no timer and no listener outlives its wait.
 */

/** The longest that a timer takes, in milliseconds. One that is set to more fires at once. */
const LONGEST_TIMER = 2 ** 31 - 1;

/** A pause behind so many failures: any time up to the delay, so that a crowd does not come back in one moment. */
export function backoff(failures: number, firstDelay: number, maxDelay: number, random = Math.random): number {
  return Math.round(random() * Math.min(firstDelay * 2 ** Math.min(failures, 32), maxDelay));
}

/** Settles with `promise`, or rejects when the signal says so, whichever is first. */
export async function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise;
  signal.throwIfAborted();
  let abort: (() => void) | undefined;
  const aborted = new Promise<never>((_, reject) => {
    abort = () => reject(signal.reason as Error);
    signal.addEventListener("abort", abort, { once: true });
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    if (abort) signal.removeEventListener("abort", abort);
  }
}

/** Settles with `promise`, or with `late` after so many milliseconds. */
export async function orAfter<T, L = T>(promise: Promise<T>, ms: number, late: L): Promise<T | L> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const timeout = new Promise<L>((settle) => {
    timer = setTimeout(() => settle(late), ms);
  });
  try {
    return await Promise.race([promise, timeout]);
  } finally {
    clearTimeout(timer);
  }
}

/** Waits so many milliseconds; rejects when the signal says so. */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  try {
    for (let left = ms; left >= 0; left -= LONGEST_TIMER) {
      const part = Math.min(left, LONGEST_TIMER);
      await unlessAborted(new Promise<void>((settle) => (timer = setTimeout(settle, part))), signal);
    }
  } finally {
    clearTimeout(timer);
  }
}
