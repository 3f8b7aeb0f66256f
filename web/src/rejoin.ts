/**
 * Joins the groups again, between a new connection's welcome and the moment it goes live.
 *
 * In: a connection that was just welcomed, the frames that come on it, and the groups that the application wants. Out:
 * which of them it is in again, and what else came meanwhile, to be reported after that. Invariants: it is done only
 * when its groups are exactly those that are wanted, so one that is left meanwhile is not joined, or left again; one
 * that the server ends or refuses is not wanted any more, but a refusal counts only when all of it is done; one that is
 * refused for now is wanted still, so that the attempt has failed, as long as whoever asks insists on all of them.
 */

import { Code } from "./codes.js";
import type { Ended } from "./ended.js";
import type { ClientFrame, ServerFrame } from "./frames.js";
import { QUEUE } from "./inbox.js";
import type { Membership } from "./membership.js";
import type { Removed } from "./types.js";

/**
 * The most requests that wait for an answer at a time: so few that writing them never waits for reading the answers.
 */
const UNDER_WAY = 64;

interface Step {
  readonly kind: "join" | "leave";
  readonly group: string;
}

export class Rejoin {
  private steps: Step[];
  private underWay = new Map<number, Step>();
  /** Groups whose join has no answer yet. */
  private unanswered: Set<string>;
  private rejoined = new Set<string>();
  private refusals: Removed[] = [];
  /**
   * Refused, but the connection is in them all the same, because an operator added it; with the `joined` that said so.
   */
  private added = new Map<string, ServerFrame>();
  /** Frames that came meanwhile. */
  private held: ServerFrame[] = [];
  /**
   * Held `joined` frames of groups whose join has no answer yet, which says whether the join or an operator made it.
   */
  private open = new Map<string, ServerFrame>();
  private settle: (failed?: Ended) => void = () => {};
  private isOver = false;
  /** A group was refused for now. */
  isRefused = false;
  /** Settles when it is done, or with why it has failed. */
  readonly done = new Promise<Ended | undefined>((settle) => (this.settle = settle));
  /** When the last answer came, or all of it began. */
  answeredAt = performance.now();

  /** At the end `finished` is called, before anything else can change which groups are wanted. */
  constructor(
    private readonly groups: Membership,
    private readonly request: () => number,
    private readonly write: (frame: ClientFrame) => void,
    private readonly finished: () => void,
    private readonly insists: boolean,
  ) {
    const members = groups.members();
    this.steps = members.map((group) => ({ kind: "join", group }));
    this.unanswered = new Set(members);
  }

  /** Sends the next requests; finishes when nothing is left. */
  go(): void {
    while (!this.isOver) {
      while (this.underWay.size < UNDER_WAY) {
        const step = this.steps.shift();
        if (!step) break;
        this.begin(step);
      }
      if (this.underWay.size > 0) return;
      const left = [...this.rejoined, ...this.added.keys()].filter((group) => !this.groups.isMember(group));
      if (left.length === 0) {
        this.isOver = true;
        this.finished();
        return this.settle();
      }
      for (const group of left) {
        this.drop(this.added.get(group));
        this.steps.push({ kind: "leave", group });
      }
    }
  }

  /** Sends nothing any more, and never finishes. */
  abandon(): void {
    this.isOver = true;
  }

  private begin(step: Step): void {
    if (step.kind === "join" && !this.groups.isMember(step.group)) {
      // Left, or removed from, while it waited for its turn.
      this.unanswered.delete(step.group);
      if (!this.open.has(step.group)) return;
      // Left when an operator had added this client to it.
      this.forget(step.group);
      step = { kind: "leave", group: step.group };
    }
    const request = this.request();
    this.underWay.set(request, step);
    this.write({ ...step, request });
  }

  /** Takes a frame. Returns whether it was about the rejoin alone; otherwise it is to be held. */
  took(frame: ServerFrame): boolean {
    switch (frame.kind) {
      case "ack":
      case "error":
        this.takeAnswer(frame);
        this.go();
        return true;
      case "joined":
        if (!this.unanswered.has(frame.group)) {
          this.groups.joined(frame.group);
          return false;
        }
        if (this.open.has(frame.group)) return true;
        this.open.set(frame.group, frame);
        return false;
      case "removed":
        if (
          (this.unanswered.has(frame.group) || this.rejoined.has(frame.group)) &&
          this.isWantedLater(frame.group, frame.code)
        ) {
          this.fail({ code: frame.code, reason: frame.reason });
          return true;
        }
        // It may come before the answer to the join that it ends.
        for (const [request, step] of this.underWay) {
          if (step.group !== frame.group || step.kind !== "join") continue;
          this.underWay.set(request, { kind: "leave", group: step.group });
        }
        this.unanswered.delete(frame.group);
        this.forget(frame.group);
        this.rejoined.delete(frame.group);
        this.added.delete(frame.group);
        this.groups.ended(frame.group);
        return false;
      default:
        return false;
    }
  }

  private takeAnswer(frame: ServerFrame & { kind: "ack" | "error" }): void {
    const step = this.underWay.get(frame.request);
    if (step === undefined) return;
    this.answeredAt = performance.now();
    const { kind, group } = step;
    this.underWay.delete(frame.request);
    if (kind === "leave") {
      this.rejoined.delete(group);
      this.added.delete(group);
      return;
    }
    this.unanswered.delete(group);
    if (frame.kind === "ack") {
      // `reconnected` reports it.
      this.forget(group);
      this.rejoined.add(group);
      return;
    }
    if (this.isWantedLater(group, frame.code)) return this.fail({ code: frame.code, reason: frame.detail });
    const joined = this.open.get(group);
    if (joined) this.added.set(group, joined);
    this.open.delete(group);
    this.refusals.push({ group, code: frame.code, reason: frame.detail });
  }

  /**
   * Whether a group that is not to be had now is wanted, so that the attempt has failed: as if the server had refused
   * the connection, another may do, or this one in a while.
   */
  private isWantedLater(group: string, code: number): boolean {
    const isForNow = code === Code.CutOff || code === Code.ShuttingDown;
    return this.insists && isForNow && this.groups.isMember(group);
  }

  private fail(why: Ended): void {
    this.isOver = true;
    this.isRefused = true;
    this.settle(why);
  }

  /** Keeps a frame for after `reconnected`. Returns those to report before it, when there are too many to keep. */
  hold(frame: ServerFrame): ServerFrame[] {
    const told = this.held.length >= QUEUE ? this.release() : [];
    this.held.push(frame);
    return told;
  }

  /** Returns the held frames, but for `joined` frames that wait for an answer. */
  release(): ServerFrame[] {
    const told = this.held.filter((frame) => !this.isOpen(frame));
    this.held = this.held.filter((frame) => this.isOpen(frame));
    return told;
  }

  private isOpen(frame: ServerFrame): boolean {
    return frame.kind === "joined" && this.open.get(frame.group) === frame;
  }

  /** The held `joined` of a group whose join has no answer is not reported. */
  private forget(group: string): void {
    this.drop(this.open.get(group));
    this.open.delete(group);
  }

  private drop(joined: ServerFrame | undefined): void {
    if (joined) this.held = this.held.filter((frame) => frame !== joined);
  }

  /** The result. Refused groups are not tried again; those that were left meanwhile are not reported. */
  outcome(): { readonly rejoined: string[]; readonly refused: Removed[]; readonly lost: string[] } {
    const refused = this.refusals.filter(({ group }) => this.groups.isMember(group));
    for (const { group } of refused) this.groups.refused(group, this.added.has(group));
    return { rejoined: [...this.rejoined].sort(), refused, lost: this.groups.takeLost() };
  }
}
