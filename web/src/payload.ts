/**
 * Payloads and their formats.
 *
 * In: texts, bytes, values. Out: bytes and their format. Invariant: the format is what the application said; nothing is
 * checked.
 */

import { FanfareError } from "./errors.js";
import type { Format } from "./frames.js";

/** Bytes, and their format. */
export interface Formatted {
  readonly format: Format;
  readonly bytes: Uint8Array;
}

/** A payload: a text, bytes as they are, or what {@link json} and {@link messagePack} make. */
export type Payload = string | Uint8Array | Formatted;

const TEXT = new TextEncoder();

/** Encodes a value as JSON. */
export function json(value: unknown): Formatted {
  const text = JSON.stringify(value) as string | undefined;
  if (text === undefined) throw new FanfareError("argument", "this value cannot be written as JSON");
  return { format: "json", bytes: TEXT.encode(text) };
}

/** Bytes that are MessagePack already. */
export function messagePack(bytes: Uint8Array): Formatted {
  return { format: "msgpack", bytes };
}

/** @internal */
export function formatted(payload: Payload): Formatted {
  if (typeof payload === "string") return { format: "text", bytes: TEXT.encode(payload) };
  return payload instanceof Uint8Array ? { format: "binary", bytes: payload } : payload;
}
