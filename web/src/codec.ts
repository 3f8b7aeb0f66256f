/**
 * The bytes of PROTOCOL.md, sections 2 to 5: frames to bytes, and bytes to frames.
 *
 * In: values of the application, or bytes of the server. Out: bytes, or values. Invariants: a length that the other
 * side names is checked before anything is kept for it; what is not exactly a frame is an error; what a later version
 * may say is told from that, and is `unknown`.
 */

import { Code } from "./codes.js";
import { FanfareError } from "./errors.js";
import {
  FORMATS, FRAME_CEILING, NAME_BYTES,
  type ClientFrame, type ExpiryScope, type Format, type Sender, type ServerFrame, type Target,
} from "./frames.js";
import { idFromText, idToText } from "./ids.js";

const TEXT = new TextEncoder();
const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function malformed(what: string): FanfareError {
  return new FanfareError("protocol", `the server sent what is no frame: ${what}`, Code.MalformedFrame);
}

/** A number that this version gives no meaning: what follows it cannot be read. */
class Unknown extends Error {}

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

  /** What of a message is the same for all its targets. */
  body(event: string, format: Format, payload: Uint8Array): this {
    const number = typeof format === "number" ? format : FORMATS.indexOf(format);
    // Written as a byte it would be another format.
    if (!Number.isInteger(number) || number < 0 || number > 255) {
      throw new FanfareError("argument", `the format is ${String(format)}; it is ${FORMATS.join(", ")}, or a number from 0 to 255`);
    }
    return this.name("event", event).byte(number).blob(payload);
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
      writer.byte(0).integer(frame.protocol).integer(frame.features);
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
      writer.byte(frame.others ? 1 : 0).body(frame.event, frame.format, frame.payload);
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
  return writer.body(event, 0, payload).size();
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
  exact(width: 2 | 4 | 8): bigint {
    const first = this.byte();
    if (first <= 250) return BigInt(first);
    const length = { 251: 2, 252: 4, 253: 8 }[first];
    if (length === undefined || length > width) throw malformed(`an integer begins with ${first}`);
    return this.raw(length).reduceRight((value, byte) => (value << 8n) | BigInt(byte), 0n);
  }

  /** The same, as nearly as a number can be. */
  integer(width: 2 | 4 | 8): number {
    return Number(this.exact(width));
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
    const name = this.text();
    // Its length may be written in more bytes than it needs.
    if (name === "" || TEXT.encode(name).length > NAME_BYTES) throw malformed("a name has not 1 to 256 bytes");
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
      default: throw new Unknown(`target ${number}`);
    }
  }

  sender(): Sender {
    const number = this.integer(4);
    if (number > 1) throw new Unknown(`sender ${number}`);
    return number === 0 ? { connection: this.id(), user: this.name() } : "server";
  }

  scope(): ExpiryScope {
    const number = this.integer(4);
    if (number > 1) throw new Unknown(`expiry scope ${number}`);
    return number === 0 ? "token" : { groups: this.integer(4) };
  }

  format(): Format {
    const number = this.byte();
    return FORMATS[number] ?? number;
  }

  /** Reads what stands behind the last field: extensions, none of which is known here. An odd number must be. */
  end<T>(value: T): T {
    let last = -1n;
    let critical: bigint | undefined;
    while (this.at < this.bytes.length) {
      const number = this.exact(8);
      if (number <= last) throw malformed("its extensions do not stand in the order of their numbers");
      last = number;
      this.blob();
      if (number % 2n === 1n) critical ??= number;
    }
    if (critical === undefined) return value;
    const why = `the server sent extension ${critical}, which must be understood and is not known here`;
    throw new FanfareError("protocol", why, Code.ExtensionNotKnown);
  }
}

/** A frame of the server, without its length. The payload is a copy: the bytes may be used again. */
export function decodeServer(bytes: Uint8Array): ServerFrame {
  try {
    return read(new Reader(bytes));
  } catch (error) {
    if (error instanceof Unknown) return { kind: "unknown", what: error.message };
    throw error;
  }
}

function read(reader: Reader): ServerFrame {
  const number = reader.integer(4);
  switch (number) {
    case 0: {
      const [protocol, features, connection] = [reader.integer(4), reader.integer(8), reader.id()];
      const [nodeBytes, session, position] = [reader.byte(), reader.raw(16).slice(), reader.integer(8)];
      const user = reader.name();
      const limits = {
        frameBytes: reader.integer(4),
        payloadBytes: reader.integer(4),
        groups: reader.integer(4),
        targets: reader.integer(4),
      };
      const server = reader.text();
      return reader.end({
        kind: "welcome", protocol, features, connection, nodeBytes, session, position, user, limits, server,
      });
    }
    case 1: return reader.end({ kind: "ack", request: reader.integer(8), count: reader.integer(8) });
    case 2:
      return reader.end({ kind: "error", request: reader.integer(8), code: reader.integer(2), detail: reader.text() });
    case 3: {
      const [from, to, event] = [reader.sender(), reader.target(), reader.name()];
      const format = reader.format();
      return reader.end({ kind: "message", from, to, event, format, payload: reader.blob().slice() });
    }
    case 4: return reader.end({ kind: "joined", group: reader.name(), members: reader.integer(8) });
    case 5: return reader.end({ kind: "removed", group: reader.name(), code: reader.integer(2), reason: reader.text() });
    case 6:
      return reader.end({ kind: "goodbye", code: reader.integer(2), reason: reader.text(), retryAfter: reader.integer(4) });
    case 7: return reader.end({ kind: "lagged", dropped: reader.integer(8) });
    case 8: return reader.end({ kind: "expiring", scope: reader.scope(), seconds: reader.integer(4) });
    default: throw new Unknown(`frame ${number}`);
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
        if (length > FRAME_CEILING) {
          throw new FanfareError("protocol", `the server sent a frame of ${length} bytes`, Code.FrameTooLarge);
        }
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
