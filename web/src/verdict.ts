/**
 * What an end says, and of whom: of the server, or of the client that was there.
 *
 * In: how a connection ended, or why there is none. Out: whether to go on, and where. Invariant: what was said to the
 * client in person (who it is, what it may, when it may come back) holds at every server, so that no other is asked for
 * what one has refused.
 */

import { Code, mayReconnect } from "./codes.js";
import type { Ended } from "./ended.js";

/** What an end means for the next attempt. */
export interface Verdict {
  /**
   * `node`: this server cannot be used now, and another may do. `server`: the same, and trying it again mends nothing.
   * `caller`: this client is not to come back for so long, wherever it is. `final`: nor ever by itself.
   */
  readonly of: "node" | "server" | "caller" | "final";
  /** For how many milliseconds. */
  readonly away: number;
}

/** The codes that are about a server. A slow client is slow everywhere, and "for now" is said to a client. */
const OF_SERVER: readonly number[] = [
  Code.ShuttingDown, Code.HandshakeTimeout, Code.StreamReset, Code.ServerFull, Code.AddressFull, Code.UserFull,
  Code.Internal, Code.CutOff,
];

/** What an end means. An expired token is no end for a client that `renews` it, whatever the server said. */
export function verdictOf({ code, retryAfter, about }: Ended, renews: boolean): Verdict {
  if (about !== undefined) return { of: about, away: 0 };
  if (code === undefined) return { of: "node", away: 0 };
  const mayComeBack = retryAfter === undefined ? mayReconnect(code) : retryAfter > 0;
  if (!mayComeBack && !(code === Code.TokenExpired && renews)) return { of: "final", away: 0 };
  // So may be what is not known here.
  return { of: OF_SERVER.includes(code) ? "node" : "caller", away: retryAfter ?? 0 };
}
