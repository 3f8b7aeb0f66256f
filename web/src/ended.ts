/**
 * How a connection ends, and what that means.
 *
 * In: the server's frames, and what the browser says of a stream or a session that has ended. Out: the code and the
 * reason. Invariants: what `goodbye` said stands for an end that says nothing; another code
 * in the end is newer (docs/protocol/reconnecting.md).
 */

import { Code } from "./codes.js";
import { FanfareError } from "./errors.js";
import type { ServerFrame } from "./frames.js";
import { orAfter } from "./pause.js";
import type { Session } from "./session.js";

/**
 * How long the end may take to come: behind `goodbye`, which is then taken for it, and behind the end of the stream.
 */
export const END_PATIENCE = 2_000;

/** Why a connection ended. */
export interface Ended {
  /** The server's code; none where it was lost without one. */
  readonly code: number | undefined;
  /** In words. */
  readonly reason: string;
  /** What the server said about coming back: in so many milliseconds, 0 for never. Without it the code decides. */
  readonly retryAfter?: number | undefined;
  /** What is known beside the code: it is the server's doing, and trying it again mends nothing; or this client's. */
  readonly about?: "server" | "caller" | undefined;
}

/** What a client goes by whose server said `goodbye`. */
export function goodbyeOf({ code, reason, retryAfter }: ServerFrame & { kind: "goodbye" }): Ended {
  return { code, reason, retryAfter };
}

/** An end, with the `goodbye` that came before it. */
export function after(end: Ended, goodbye: Ended | undefined): Ended {
  // An end without a code of its own (0 is what a finished session ends with) is what `goodbye` says.
  if (goodbye === undefined || (end.code && end.code !== goodbye.code)) return end;
  return { ...goodbye, reason: goodbye.reason || end.reason };
}

/**
 * The code that the server broke the stream off with; none where the stream was lost, or ended with the session.
 * Firefox gives the error of a session that this end closes a code, too: 20.
 */
export function brokenOffWith(error: unknown): Ended | undefined {
  const { source, streamErrorCode: code } = (error ?? {}) as { source?: string; streamErrorCode?: number | null };
  // Codes have 16 bits. 0 says nothing.
  if (source !== "stream" || !code || code > 0xffff) return undefined;
  return { code, reason: "the server broke the stream off" };
}

/**
 * What the server said when it closed. Browsers give it with the session's end, which comes soon after the stream's.
 */
export async function closedBy(session: Session, patience = END_PATIENCE): Promise<Ended> {
  const closed = session.closed.then<Ended, Ended>(
    (info) => ({ code: info.closeCode, reason: info.reason ?? "" }),
    (error: unknown) => ({ code: undefined, reason: error instanceof Error ? error.message : String(error) }),
  );
  return orAfter(closed, patience, { code: undefined, reason: "the stream ended" });
}

/** How a client closes a connection whose server sent what is not the protocol. */
export function closeWith(breach: unknown): { readonly closeCode: number; readonly reason: string } {
  const code = breach instanceof FanfareError ? breach.code : undefined;
  return { closeCode: code ?? Code.MalformedFrame, reason: breach instanceof Error ? breach.message : String(breach) };
}

/** The error of connecting to a server that ended the connection instead of a welcome. */
export function refused({ code, reason, retryAfter }: Ended): FanfareError {
  return new FanfareError("closed", `the server refused the connection: ${reason}`, code, undefined, retryAfter);
}

/** What a failed attempt to connect means. */
export function failed(error: unknown): Ended {
  const reason = error instanceof Error ? error.message : String(error);
  // Whoever signs in has trouble, which is not to be asked again at once for each server.
  if (!(error instanceof FanfareError) || error.kind === "unsupported") {
    return { code: undefined, reason, about: "caller" };
  }
  const { kind, code, retryAfter } = error;
  return { code, reason, retryAfter, about: kind === "protocol" || kind === "argument" ? "server" : undefined };
}
