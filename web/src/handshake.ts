/**
 * From a session to a connection that the server has welcomed.
 *
 * In: a session that was just begun, and `hello`. Out: the stream's two halves and `welcome`, or why there is none.
 * Invariant: the first frame is `welcome` of a version and with features that this client speaks, or `goodbye`; what
 * else it is breaks the protocol.
 */

import { Code } from "./codes.js";
import { after, brokenOffWith, closedBy, END_PATIENCE, goodbyeOf, refused, type Ended } from "./ended.js";
import { FanfareError } from "./errors.js";
import { CALLS, PRESENCE, type ServerFrame, type Welcome } from "./frames.js";
import { Incoming } from "./incoming.js";
import { orAfter } from "./pause.js";
import type { Session } from "./session.js";

/** The features that this client understands. */
export const FEATURES = CALLS | PRESENCE;

/** A stream that the server has welcomed. */
export interface Introduced {
  readonly incoming: Incoming;
  readonly writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly welcome: Welcome;
}

/** Opens the stream and says `hello`. A `goodbye` is kept in `heard`, as its end may not come in time. */
export async function introduce(
  session: Session, url: string, hello: Uint8Array, heard: { goodbye?: Ended },
): Promise<Introduced> {
  let brokenOff: Ended | undefined;
  try {
    const stream = await session.createBidirectionalStream();
    const incoming = new Incoming(stream.readable.getReader());
    const writer = stream.writable.getWriter();
    writer.closed.catch(() => {});
    writer.write(hello).catch(() => {});
    const first = await incoming.first();
    if (first?.kind === "goodbye") {
      heard.goodbye = goodbyeOf(first);
      throw refused(await endAfter(heard.goodbye, session, incoming));
    }
    if (first) return { incoming, writer, welcome: welcomed(first) };
  } catch (error) {
    // The stream's end or the session's may come first, as the browser likes.
    if (error instanceof FanfareError) throw error;
    brokenOff = brokenOffWith(error);
  }
  const ended = brokenOff ?? (await closedBy(session));
  // 0 is not a code of the server here: libraries close a half-made connection with it.
  if (!ended.code) throw new FanfareError("unreachable", `the connection to ${url} was lost: ${ended.reason}`);
  throw refused(ended);
}

function welcomed(first: ServerFrame): Welcome {
  const breach = (what: string) => new FanfareError("protocol", what, Code.MalformedFrame);
  if (first.kind === "unknown") throw breach(`the server began with ${first.what}`);
  if (first.kind !== "welcome") throw breach(`the server began with ${first.kind}`);
  // It would go on with what nobody here understands.
  if ((first.features & ~FEATURES) !== 0n) throw breach("the server chose features that were not offered");
  return first;
}

/** How a connection ends whose server said `goodbye`: nothing but the end comes behind it, if that comes in time. */
async function endAfter(goodbye: Ended, session: Session, incoming: Incoming): Promise<Ended> {
  const end = async (): Promise<Ended> => {
    try {
      while (await incoming.next());
    } catch (error) {
      if (error instanceof FanfareError) throw error;
      const brokenOff = brokenOffWith(error);
      if (brokenOff) return brokenOff;
    }
    return closedBy(session);
  };
  return after(await orAfter(end(), END_PATIENCE, goodbye), goodbye);
}
