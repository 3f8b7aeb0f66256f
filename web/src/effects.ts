/**
 * What requests change here: the groups to join again after an outage, and the token to connect with.
 *
 * In: what was asked, and what came of it. Out: the newest token that the server took. Invariant: a request changes
 * something only when it goes to the server and when it is answered; but a leave that the connection's end kept from
 * the server is one all the same, since the membership is gone and must not be renewed.
 */

import type { ClientFrame } from "./frames.js";
import type { Membership } from "./membership.js";

export class Effects {
  /** The request that it came with. Of two refreshes the later one's is the newer, whichever is answered last. */
  private tokenFrom = 0;

  /** `token` is the one to connect with first; none where a provider gives them, or none is needed. */
  constructor(private readonly groups: Membership, private newest: string | undefined) {}

  /** The newest token that the server took, where there is no provider. */
  get token(): string | undefined {
    return this.newest;
  }

  /** It goes to the server. */
  asked(frame: ClientFrame): void {
    if (frame.kind === "join") this.groups.joinAsked(frame.group);
    if (frame.kind === "leave") this.groups.leaveAsked(frame.group);
  }

  /** It was carried out, or refused. */
  answered(frame: ClientFrame, done: boolean): void {
    if (frame.kind === "join") this.groups.joinAnswered(frame.group, done);
    if (frame.kind === "leave") this.groups.leaveAnswered(frame.group);
    if (frame.kind === "refresh" && done && this.newest !== undefined && frame.request > this.tokenFrom) {
      this.newest = frame.token;
      this.tokenFrom = frame.request;
    }
  }

  /** There is no connection any more to send it on. */
  unsent(frame: ClientFrame): void {
    if (frame.kind === "leave") this.groups.ended(frame.group);
  }
}
