/**
 * The requests that wait for the server's answer, and those that wait until there is room for one more.
 *
 * In: requests as they are made, and answers as they come. Out: each request, to be sent in its turn; each answer, to
 * whoever waits for it. Invariants: a number is never used twice; at most {@link MOST_PENDING} requests have no answer,
 * so that memory is bounded where a server takes requests and does not answer; what was made first is sent first, sends
 * without an answer included; when the connection is lost, everyone who waits is told at once; what a request changes
 * here is changed whether or not somebody still waits for its answer, and before the one who waits hears of it.
 */

import type { Effects } from "./effects.js";
import { FanfareError } from "./errors.js";
import type { ClientFrame, ServerFrame } from "./frames.js";
import type { Counted } from "./types.js";

/** The most requests that may have no answer at a time: as many as in the Rust client. The next waits for one. */
export const MOST_PENDING = 1_024;

type Answer = ServerFrame & { kind: "ack" | "error" };

interface Waiting {
  settle(counted: Counted): void;
  reject(error: FanfareError): void;
}

/** What waits until it may be sent. */
interface Turn {
  /** The request; none for what has no answer, which waits only behind others. */
  readonly asked: ClientFrame | undefined;
  begin(): void;
  reject(error: FanfareError): void;
}

export class Requests {
  private last = 0;
  private waiting = new Map<number, Waiting>();
  /** Those without an answer. One whose caller gave up is among them: the server still owes the answer. */
  private unanswered = new Map<number, ClientFrame>();
  /** Those that are not sent yet, in the order in which they were made. */
  private turns: Turn[] = [];

  constructor(private readonly effects: Effects, private readonly patience: number) {}

  /** A number that no other request has. */
  next(): number {
    return ++this.last;
  }

  /** Whether somebody waits for an answer, or to be sent, which an answer makes room for. */
  get areAwaited(): boolean {
    return this.waiting.size > 0 || this.turns.length > 0;
  }

  /** Has `write` send a request in its turn, and waits for the answer. */
  async ask(request: number, asked: ClientFrame, write: () => Promise<void>): Promise<Counted> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    try {
      return await new Promise<Counted>((settle, reject) => {
        const begin = () => {
          this.waiting.set(request, { settle, reject });
          this.unanswered.set(request, asked);
          this.effects.asked(asked);
          write().catch(reject);
        };
        const turn = { asked, begin, reject };
        timer = setTimeout(() => this.late(turn), this.patience);
        this.line(turn);
      });
    } finally {
      clearTimeout(timer);
      this.waiting.delete(request);
    }
  }

  /** Whoever made a request waits no longer for its answer. */
  private late(turn: Turn): void {
    const at = this.turns.indexOf(turn);
    const unsent = at < 0 ? "" : `; the request was not sent, as ${MOST_PENDING} before it have no answer`;
    turn.reject(new FanfareError("timeout", `no answer within ${this.patience} ms${unsent}`));
    if (at < 0) return;
    this.turns.splice(at, 1);
    this.go();
  }

  /** Has `write` send what has no answer, behind the requests that were made before. */
  async send(write: () => Promise<void>): Promise<void> {
    return new Promise<void>((settle, reject) => {
      this.line({ asked: undefined, begin: () => void write().then(settle, reject), reject });
    });
  }

  /** Takes an answer. Says whether it was one to a request that {@link ask} sent. */
  answer(frame: Answer): boolean {
    const asked = this.unanswered.get(frame.request);
    if (asked === undefined) return false;
    this.unanswered.delete(frame.request);
    this.effects.answered(asked, frame.kind === "ack");
    const waiting = this.waiting.get(frame.request);
    if (frame.kind === "ack") waiting?.settle({ count: frame.count, silent: frame.silent ?? [] });
    else waiting?.reject(new FanfareError("refused", frame.detail, frame.code));
    this.go();
    return true;
  }

  /** Sends nothing any more: what waits for its turn fails, with these words. */
  stop(why: string): void {
    for (const { reject } of this.turns.splice(0)) {
      reject(new FanfareError("not-connected", `${why}; nothing was sent`));
    }
  }

  /** The connection is lost, and with it every answer that was still to come. */
  fail(): void {
    this.unanswered.clear();
    for (const { asked } of this.turns) {
      if (asked) this.effects.unsent(asked);
    }
    this.stop("the connection was lost");
    for (const { reject } of this.waiting.values()) {
      reject(new FanfareError("disconnected", "the connection was lost"));
    }
    this.waiting.clear();
  }

  private line(turn: Turn): void {
    this.turns.push(turn);
    this.go();
  }

  /** Sends what may be sent now: at once where nothing waits, so that the order is the order of the calls. */
  private go(): void {
    for (let [turn] = this.turns; turn; [turn] = this.turns) {
      if (turn.asked && this.unanswered.size >= MOST_PENDING) return;
      this.turns.shift();
      turn.begin();
    }
  }
}
