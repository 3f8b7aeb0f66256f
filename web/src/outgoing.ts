/**
 * What an application wants to send, as a frame.
 *
 * In: targets, a payload, options. Out: the frame and its bytes, or an error that says what is wrong. Invariant: what
 * the server would refuse for its size is not sent; a frame that is too long would cost the connection.
 */

import { encodeClient } from "./codec.js";
import { FanfareError } from "./errors.js";
import type { ClientFrame, Limits, Target } from "./frames.js";
import { formatted, type Payload } from "./payload.js";
import { PREFIX_BYTES } from "./stream.js";
import type { SendOptions } from "./types.js";

/** A send that keeps to the limits of targets and payload. */
export function outgoing(
  request: number, to: readonly Target[], event: string, payload: Payload, options: SendOptions, limits: Limits,
): ClientFrame & { kind: "send" } {
  const { format, bytes } = formatted(payload);
  const { payloadBytes, targets } = limits;
  if (bytes.length > payloadBytes) {
    throw new FanfareError("argument", `the payload has ${bytes.length} bytes; the server takes ${payloadBytes}`);
  }
  if (to.length === 0) throw new FanfareError("argument", "the send names no target");
  const { except = [], others = false } = options;
  if (to.length > targets || except.length > targets) {
    throw new FanfareError("argument", `the send names more than ${targets} targets or exceptions`);
  }
  return { kind: "send", request, ack: false, to, except, others, event, format, payload: bytes };
}

/** A frame's bytes, its length before it, unless the server would close the connection for its length. */
export function encoded(frame: ClientFrame, { frameBytes }: Limits): Uint8Array {
  const bytes = encodeClient(frame);
  const length = bytes.length - PREFIX_BYTES;
  if (length <= frameBytes) return bytes;
  const why = `the ${frame.kind} has ${length} bytes in all; the server takes ${frameBytes}`;
  throw new FanfareError("argument", why);
}
