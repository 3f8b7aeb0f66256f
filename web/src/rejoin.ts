/**
 * Back into the groups: what happens between a new connection's welcome and the moment it goes live.
 *
 * In: a connection that was just welcomed, what it says, and the groups that the application wants. Out: which of them it is in again.
 * Invariants: it is done only when its groups are exactly those that are wanted, so one that is left meanwhile is left again; one that
 * the server ends or refuses is not wanted any more, but a refusal counts only when all of it is done.
 */

import type { ClientFrame, ServerFrame } from "./codec.js";
import type { Membership } from "./membership.js";
import type { Removed } from "./types.js";

/** Requests that are under way at a time: so few that writing them never waits for answers that are not being read. */
const UNDER_WAY = 64;

interface Step {
  readonly kind: "join" | "leave";
  readonly group: string;
}

export class Rejoin {
  private steps: Step[];
  private underWay = new Map<number, Step>();
  private rejoined = new Set<string>();
  private refusals: Removed[] = [];
  private finish: () => void = () => {};
  /** Settles when it is done. */
  readonly done = new Promise<void>((settle) => (this.finish = settle));

  constructor(
    private readonly groups: Membership,
    private readonly request: () => number,
    private readonly write: (frame: ClientFrame) => void,
  ) {
    this.steps = groups.members().map((group) => ({ kind: "join", group }));
  }

  /** Asks for what is to be asked next; finishes when nothing is left. */
  go(): void {
    for (;;) {
      while (this.underWay.size < UNDER_WAY) {
        const step = this.steps.shift();
        if (!step) break;
        const request = this.request();
        this.underWay.set(request, step);
        this.write({ ...step, request });
      }
      if (this.underWay.size > 0) return;
      const left = [...this.rejoined].filter((group) => !this.groups.isMember(group));
      if (left.length === 0) return this.finish();
      this.steps.push(...left.map((group) => ({ kind: "leave", group }) as const));
    }
  }

  /** Takes a frame that is about this. Says whether it was. */
  took(frame: ServerFrame): boolean {
    switch (frame.kind) {
      case "ack":
      case "error": {
        const step = this.underWay.get(frame.request);
        this.underWay.delete(frame.request);
        if (step?.kind === "leave") this.rejoined.delete(step.group);
        else if (step && frame.kind === "ack") this.rejoined.add(step.group);
        else if (step && frame.kind === "error") this.refusals.push({ group: step.group, code: frame.code, reason: frame.detail });
        this.go();
        return true;
      }
      case "joined":
        // Told by `reconnected`, where it was asked for.
        return [...this.underWay.values()].some((step) => step.kind === "join" && step.group === frame.group);
      case "removed":
        // It may come before the answer to the join that it ends.
        for (const [request, step] of this.underWay) {
          if (step.group === frame.group && step.kind === "join") this.underWay.set(request, { kind: "leave", group: step.group });
        }
        this.rejoined.delete(frame.group);
        this.groups.ended(frame.group);
        return false;
      default:
        return false;
    }
  }

  /** What came of it. The refused are not tried again. */
  outcome(): { readonly rejoined: string[]; readonly refused: Removed[]; readonly lost: string[] } {
    for (const { group } of this.refusals) this.groups.ended(group);
    return { rejoined: [...this.rejoined].sort(), refused: this.refusals, lost: this.groups.takeLost() };
  }
}
