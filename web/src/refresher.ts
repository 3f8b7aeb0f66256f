/**
 * Renews the access of one connection: asks for a new token when the server says that the old one expires, and sends
 * it.
 *
 * In: `expiring`. Out: a refresh, or why there was none. Invariants: one refresh at a time; a provider or a server that
 * fails is asked again after growing pauses, as long as the connection lasts; a token that comes after the connection
 * is lost is not used.
 */

import { FanfareError } from "./errors.js";
import { backoff, orAfter } from "./pause.js";

const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 15_000;

export class Refresher {
  private state: "waiting" | "idle" | "busy" | "over" = "waiting";
  private wanted = false;
  private wake: (() => void) | undefined;

  constructor(
    private readonly provider: () => string | Promise<string>,
    private readonly patience: number,
    private readonly refresh: (token: string) => Promise<number>,
    private readonly failed: (reason: string) => void,
  ) {}

  /** Access ends soon. */
  expiring(): void {
    this.wanted = true;
    if (this.state === "idle") void this.run();
  }

  /** The connection takes requests from here on. */
  live(): void {
    if (this.state !== "waiting") return;
    this.state = "idle";
    if (this.wanted) void this.run();
  }

  /** The connection is gone. */
  end(): void {
    this.state = "over";
    this.wake?.();
  }

  private over(): boolean {
    return this.state === "over";
  }

  private async run(): Promise<void> {
    this.state = "busy";
    while (this.wanted && !this.over()) {
      this.wanted = false;
      for (let failures = 0; !this.over(); failures++) {
        const failure = await this.attempt();
        if (failure === undefined || this.over()) break;
        this.failed(failure);
        await this.pause(backoff(failures, FIRST_PAUSE, LONGEST_PAUSE));
      }
    }
    if (!this.over()) this.state = "idle";
  }

  private async attempt(): Promise<string | undefined> {
    try {
      const token = await orAfter(Promise.resolve().then(this.provider), this.patience, undefined);
      if (this.over()) return undefined;
      if (token === undefined) return `the token provider took longer than ${this.patience} ms`;
      await this.refresh(token);
      return undefined;
    } catch (error) {
      const words = error instanceof Error ? error.message : String(error);
      return error instanceof FanfareError ? words : `the token provider failed: ${words}`;
    }
  }

  private async pause(ms: number): Promise<void> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    await new Promise<void>((settle) => {
      this.wake = settle;
      timer = setTimeout(settle, ms);
    });
    clearTimeout(timer);
    this.wake = undefined;
  }
}
