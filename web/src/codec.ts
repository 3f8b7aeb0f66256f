/**
 * The bytes of PROTOCOL.md, sections 2 to 5: frames to bytes, and bytes to frames.
 *
 * In: values of the application, or bytes of the server. Out: bytes, or values. Invariant: a length that the other side names is
 * checked before anything is kept for it; what is not exactly a frame is an error.
 */

import { FanfareError } from "./errors.js";

/** The version of the protocol. */
export const PROTOCOL_VERSION = 1;
/** The longest frame of any server, its length not counted. */
export const FRAME_CEILING = (1 << 20) + 2048;
/** The most bytes of a frame in a datagram. */
export const DATAGRAM_BYTES = 1100;
/** The most bytes of a name. */
export const NAME_BYTES = 256;

/** Where a message goes. */
export type Target =
  | { readonly connection: string }
  | { readonly user: string }
  | { readonly group: string }
  | "all";

/** Who a message is from. The server fills it in. */
export type Sender = { readonly connection: string; readonly user: string } | "server";

/** What a connection may send. */
export interface Limits {
  /** The longest frame, in bytes. */
  readonly frameBytes: number;
  /** The longest payload, in bytes. */
  readonly payloadBytes: number;
  /** Groups that it may be in. */
  readonly groups: number;
  /** Targets, or exceptions, of one send. */
  readonly targets: number;
}

/** Who connects. */
export type Credential = { readonly token: string } | { readonly devUser: string };

/** A send, as it goes to the server. */
export interface Send {
  readonly request: number;
  readonly ack: boolean;
  readonly to: readonly Target[];
  readonly except: readonly string[];
  readonly others: boolean;
  readonly event: string;
  readonly payload: Uint8Array;
}

/** What a client says. */
export type ClientFrame =
  | { readonly kind: "hello"; readonly protocol: number; readonly credential: Credential }
  | { readonly kind: "join"; readonly request: number; readonly group: string }
  | { readonly kind: "leave"; readonly request: number; readonly group: string }
  | ({ readonly kind: "send" } & Send)
  | { readonly kind: "count"; readonly request: number; readonly target: Target }
  | { readonly kind: "refresh"; readonly request: number; readonly token: string };

/** What the server says first. */
export interface Welcome {
  readonly kind: "welcome";
  readonly protocol: number;
  readonly connection: string;
  readonly user: string;
  readonly limits: Limits;
  readonly server: string;
}

/** A message, as it comes. */
export interface MessageFrame {
  readonly kind: "message";
  readonly from: Sender;
  readonly to: Target;
  readonly event: string;
  readonly payload: Uint8Array;
}

/** What ends when access expires: the token and with it the connection, or so many memberships. */
export type ExpiryScope = "token" | { readonly groups: number };

/** What the server says. */
export type ServerFrame =
  | Welcome
  | MessageFrame
  | { readonly kind: "ack"; readonly request: number; readonly count: number }
  | { readonly kind: "error"; readonly request: number; readonly code: number; readonly detail: string }
  | { readonly kind: "joined"; readonly group: string; readonly members: number }
  | { readonly kind: "removed"; readonly group: string; readonly code: number; readonly reason: string }
  | { readonly kind: "goodbye"; readonly code: number; readonly reason: string; readonly retryAfter: number }
  | { readonly kind: "lagged"; readonly dropped: number }
  | { readonly kind: "expiring"; readonly scope: ExpiryScope; readonly seconds: number };

const TEXT = new TextEncoder();
const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

function malformed(what: string): FanfareError {
  return new FanfareError("protocol", `the server sent what is no frame: ${what}`);
}

/** The 26 characters of a connection's id. */
export function idToText(bytes: Uint8Array): string {
  let number = 0n;
  for (const byte of bytes) number = (number << 8n) | BigInt(byte);
  let text = "";
  for (let digit = 25n; digit >= 0n; digit--) text += ALPHABET[Number((number >> (digit * 5n)) & 31n)];
  return text;
}

/** The 16 bytes of a connection's id. */
export function idFromText(text: string): Uint8Array {
  const digits = [...text.toUpperCase()].map((character) => ALPHABET.indexOf(character));
  if (digits.length !== 26 || digits.includes(-1) || (digits[0] ?? 8) > 7) {
    throw new FanfareError("argument", `${JSON.stringify(text)} is not a connection's id: it has 26 letters and digits`);
  }
  let number = digits.reduce((number, digit) => (number << 5n) | BigInt(digit), 0n);
  const bytes = new Uint8Array(16);
  for (let at = 15; at >= 0; at--, number >>= 8n) bytes[at] = Number(number & 255n);
  return bytes;
}

/** Grows as it is written to. */
class Writer {
  private bytes = new Uint8Array(128);
  private length = 4;

  private room(more: number): void {
    if (this.length + more <= this.bytes.length) return;
    const bytes = new Uint8Array(Math.max(this.bytes.length * 2, this.length + more));
    bytes.set(this.bytes.subarray(0, this.length));
    this.bytes = bytes;
  }

  raw(bytes: Uint8Array): this {
    this.room(bytes.length);
    this.bytes.set(bytes, this.length);
    this.length += bytes.length;
    return this;
  }

  byte(value: number): this {
    this.room(1);
    this.bytes[this.length++] = value;
    return this;
  }

  /** An integer, in the shortest form. */
  integer(value: number): this {
    const little = (marker: number, count: number): this => {
      this.byte(marker);
      for (let at = 0, rest = value; at < count; at++, rest = Math.floor(rest / 256)) this.byte(rest % 256);
      return this;
    };
    if (value <= 250) return this.byte(value);
    if (value <= 0xffff) return little(251, 2);
    if (value <= 0xffff_ffff) return little(252, 4);
    return little(253, 8);
  }

  blob(bytes: Uint8Array): this {
    return this.integer(bytes.length).raw(bytes);
  }

  text(text: string): this {
    return this.blob(TEXT.encode(text));
  }

  name(what: string, name: string): this {
    const bytes = TEXT.encode(name);
    if (bytes.length < 1 || bytes.length > NAME_BYTES) {
      throw new FanfareError("argument", `the ${what} name has ${bytes.length} bytes; it must have 1 to ${NAME_BYTES}`);
    }
    return this.blob(bytes);
  }

  target(target: Target): this {
    if (target === "all") return this.byte(3);
    if ("connection" in target) return this.byte(0).raw(idFromText(target.connection));
    if ("user" in target) return this.byte(1).name("user", target.user);
    return this.byte(2).name("group", target.group);
  }

  /** The frame with its length before it. */
  frame(): Uint8Array {
    new DataView(this.bytes.buffer).setUint32(0, this.length - 4, true);
    return this.bytes.slice(0, this.length);
  }

  /** How many bytes the frame has without its length. */
  size(): number {
    return this.length - 4;
  }
}

/** A frame as bytes, its length before it. */
export function encodeClient(frame: ClientFrame): Uint8Array {
  const writer = new Writer();
  switch (frame.kind) {
    case "hello":
      writer.byte(0).integer(frame.protocol);
      if ("token" in frame.credential) writer.byte(0).text(frame.credential.token);
      else writer.byte(1).name("user", frame.credential.devUser);
      break;
    case "join":
      writer.byte(1).integer(frame.request).name("group", frame.group);
      break;
    case "leave":
      writer.byte(2).integer(frame.request).name("group", frame.group);
      break;
    case "send":
      writer.byte(3).integer(frame.request).byte(frame.ack ? 1 : 0).integer(frame.to.length);
      for (const target of frame.to) writer.target(target);
      writer.integer(frame.except.length);
      for (const connection of frame.except) writer.raw(idFromText(connection));
      writer.byte(frame.others ? 1 : 0).name("event", frame.event).blob(frame.payload);
      break;
    case "count":
      writer.byte(4).integer(frame.request).target(frame.target);
      break;
    case "refresh":
      writer.byte(5).integer(frame.request).text(frame.token);
      break;
  }
  return writer.frame();
}

/** How many bytes a message has in a datagram to a recipient. */
export function datagramBytes(from: { connection: string; user: string }, to: Target, event: string, payload: Uint8Array): number {
  const writer = new Writer();
  writer.byte(3).byte(0).raw(idFromText(from.connection)).name("user", from.user).target(to);
  return writer.name("event", event).blob(payload).size();
}

/** Reads a frame from its first byte to its last. */
class Reader {
  private at = 0;

  constructor(private readonly bytes: Uint8Array) {}

  raw(length: number): Uint8Array {
    if (length > this.bytes.length - this.at) throw malformed("it is cut off");
    return this.bytes.subarray(this.at, (this.at += length));
  }

  byte(): number {
    const byte = this.bytes[this.at++];
    if (byte === undefined) throw malformed("it is cut off");
    return byte;
  }

  /** An integer of so many bytes at most. */
  integer(width: 2 | 4 | 8): number {
    const first = this.byte();
    if (first <= 250) return first;
    const length = { 251: 2, 252: 4, 253: 8 }[first];
    if (length === undefined || length > width) throw malformed(`an integer begins with ${first}`);
    let value = 0;
    let scale = 1;
    for (const byte of this.raw(length)) {
      value += byte * scale;
      scale *= 256;
    }
    return value;
  }

  blob(): Uint8Array {
    return this.raw(this.integer(8));
  }

  text(): string {
    try {
      return UTF8.decode(this.blob());
    } catch (error) {
      if (error instanceof FanfareError) throw error;
      throw malformed("a text is not UTF-8");
    }
  }

  name(): string {
    const before = this.at;
    const name = this.text();
    if (name === "" || this.at - before > NAME_BYTES + 3) throw malformed("a name has not 1 to 256 bytes");
    return name;
  }

  id(): string {
    return idToText(this.raw(16));
  }

  target(): Target {
    const number = this.integer(4);
    switch (number) {
      case 0: return { connection: this.id() };
      case 1: return { user: this.name() };
      case 2: return { group: this.name() };
      case 3: return "all";
      default: throw malformed(`there is no target ${number}`);
    }
  }

  end<T>(value: T): T {
    if (this.at !== this.bytes.length) throw malformed(`${this.bytes.length - this.at} bytes are left over`);
    return value;
  }
}

/** A frame of the server, without its length. The payload is a copy: the bytes may be used again. */
export function decodeServer(bytes: Uint8Array): ServerFrame {
  const reader = new Reader(bytes);
  const number = reader.integer(4);
  switch (number) {
    case 0: {
      const [protocol, connection, user] = [reader.integer(4), reader.id(), reader.name()];
      const limits = {
        frameBytes: reader.integer(4),
        payloadBytes: reader.integer(4),
        groups: reader.integer(4),
        targets: reader.integer(4),
      };
      return reader.end({ kind: "welcome", protocol, connection, user, limits, server: reader.text() });
    }
    case 1: return reader.end({ kind: "ack", request: reader.integer(8), count: reader.integer(8) });
    case 2:
      return reader.end({ kind: "error", request: reader.integer(8), code: reader.integer(2), detail: reader.text() });
    case 3: {
      const sender = reader.integer(4);
      if (sender > 1) throw malformed(`there is no sender ${sender}`);
      const from: Sender = sender === 0 ? { connection: reader.id(), user: reader.name() } : "server";
      const [to, event] = [reader.target(), reader.name()];
      return reader.end({ kind: "message", from, to, event, payload: reader.blob().slice() });
    }
    case 4: return reader.end({ kind: "joined", group: reader.name(), members: reader.integer(8) });
    case 5: return reader.end({ kind: "removed", group: reader.name(), code: reader.integer(2), reason: reader.text() });
    case 6:
      return reader.end({ kind: "goodbye", code: reader.integer(2), reason: reader.text(), retryAfter: reader.integer(4) });
    case 7: return reader.end({ kind: "lagged", dropped: reader.integer(8) });
    case 8: {
      const scope = reader.integer(4);
      if (scope > 1) throw malformed(`there is no scope ${scope}`);
      const ends: ExpiryScope = scope === 0 ? "token" : { groups: reader.integer(4) };
      return reader.end({ kind: "expiring", scope: ends, seconds: reader.integer(4) });
    }
    default: throw malformed(`there is no frame ${number}`);
  }
}

/** Cuts what comes on a stream into frames, whatever pieces it comes in. Keeps no more than one frame and one piece. */
export class FrameReader {
  private rest: Uint8Array = new Uint8Array(0);

  /** The frames that these bytes complete, one after the other. */
  *push(piece: Uint8Array): Generator<Uint8Array, void> {
    let bytes = piece;
    if (this.rest.length > 0) {
      bytes = new Uint8Array(this.rest.length + piece.length);
      bytes.set(this.rest);
      bytes.set(piece, this.rest.length);
    }
    let at = 0;
    try {
      while (bytes.length - at >= 4) {
        const length = new DataView(bytes.buffer, bytes.byteOffset + at, 4).getUint32(0, true);
        if (length > FRAME_CEILING) throw malformed(`it has ${length} bytes`);
        if (bytes.length - at - 4 < length) break;
        const frame = bytes.subarray(at + 4, at + 4 + length);
        at += 4 + length;
        yield frame;
      }
    } finally {
      this.rest = bytes.slice(at);
    }
  }

  /** Whether the stream may end here. */
  isBetweenFrames(): boolean {
    return this.rest.length === 0;
  }
}
