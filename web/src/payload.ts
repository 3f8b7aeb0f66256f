/**
 * Payloads and their formats.
 *
 * In: texts, bytes, values. Out: bytes and their format, and for calls the values again. Invariant: the format is what
 * the application said; nothing is checked.
 */

import { FanfareError } from "./errors.js";
import type { Formatted } from "./frames.js";

/** A payload: a text, bytes as they are, or what {@link json} and {@link messagePack} make. */
export type Payload = string | Uint8Array | Formatted;

const TEXT = new TextEncoder();
const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Encodes a value as JSON. */
export function json(value: unknown): Formatted {
  let text: string | undefined;
  try {
    text = JSON.stringify(value) as string | undefined;
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new FanfareError("argument", `this value cannot be written as JSON: ${why}`, undefined, cause);
  }
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

/** Whether a value is what {@link json} and {@link messagePack} make. @internal */
export function isFormatted(value: unknown): value is Formatted {
  return typeof value === "object" && value !== null && "format" in value && "bytes" in value &&
    value.bytes instanceof Uint8Array;
}

/** A value of a call: JSON, but bytes go as they are, and so does what has a format. @internal */
export function payloadFor(value: unknown): Formatted {
  if (value instanceof Uint8Array) return { format: "binary", bytes: value };
  return isFormatted(value) ? value : json(value);
}

/**
 * The value that came with a call: what the JSON says, a text, or bytes. What is in another format stays a payload.
 * Throws where it is not what its format says. @internal
 */
export function valueOf({ format, bytes }: Formatted): unknown {
  switch (format) {
    case "json": return JSON.parse(UTF8.decode(bytes)) as unknown;
    case "text": return UTF8.decode(bytes);
    case "binary": return bytes;
    default: return { format, bytes };
  }
}

/** The arguments of a call, one by one. Throws where they are none. @internal */
export function argumentsOf(payload: Formatted): unknown[] {
  if (payload.format === "binary" && payload.bytes.length === 0) return [];
  const value = valueOf(payload);
  if (payload.format !== "json") return [value];
  if (Array.isArray(value)) return value;
  throw new Error("the arguments are not a JSON array");
}
