/**
 * The requests that wait for the server's answer.
 *
 * In: requests as they are sent, and answers as they come. Out: each answer, to whoever waits for it. Invariants: a
 * number is never used twice; when the connection is lost, everyone who waits is told at once; what a request changes
 * here is changed whether or not somebody still waits for its answer, and before the one who waits hears of it.
 */

import { FanfareError } from "./errors.js";
import type { ClientFrame, ServerFrame } from "./frames.js";

type Answer = ServerFrame & { kind: "ack" | "error" };

interface Waiting {
  settle(count: number): void;
  reject(error: FanfareError): void;
}

export class Requests {
  private last = 0;
  private waiting = new Map<number, Waiting>();
  /** Those without an answer. */
  private unanswered = new Map<number, ClientFrame>();

  /** `answered` is told what was asked, and whether it was carried out. */
  constructor(
    private readonly answered: (asked: ClientFrame, done: boolean) => void,
    private readonly patience: number,
  ) {}

  /** A number that no other request has. */
  next(): number {
    return ++this.last;
  }

  /** Whether somebody waits for an answer. */
  get areAwaited(): boolean {
    return this.waiting.size > 0;
  }

  /** Has `write` send a request, and waits for the answer. */
  async ask(request: number, asked: ClientFrame, write: () => Promise<void>): Promise<number> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    try {
      return await new Promise<number>((settle, reject) => {
        this.waiting.set(request, { settle, reject });
        this.unanswered.set(request, asked);
        const late = () => reject(new FanfareError("timeout", `no answer within ${this.patience} ms`));
        timer = setTimeout(late, this.patience);
        write().catch(reject);
      });
    } finally {
      clearTimeout(timer);
      this.waiting.delete(request);
    }
  }

  /** Takes an answer. Says whether it was one to a request that {@link ask} sent. */
  answer(frame: Answer): boolean {
    const asked = this.unanswered.get(frame.request);
    if (asked === undefined) return false;
    this.unanswered.delete(frame.request);
    this.answered(asked, frame.kind === "ack");
    const waiting = this.waiting.get(frame.request);
    if (frame.kind === "ack") waiting?.settle(frame.count);
    else waiting?.reject(new FanfareError("refused", frame.detail, frame.code));
    return true;
  }

  /** The connection is lost, and with it every answer that was still to come. */
  fail(): void {
    this.unanswered.clear();
    for (const { reject } of this.waiting.values()) {
      reject(new FanfareError("disconnected", "the connection was lost"));
    }
    this.waiting.clear();
  }
}
