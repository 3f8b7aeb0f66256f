/**
 * Frames to bytes, and bytes to frames: PROTOCOL.md, sections 3 to 5, docs/protocol/calls.md and presence.md.
 *
 * In: values of the application, or bytes of the server. Out: bytes, or values. Invariants: a length that the other
 * side names is checked against the bytes that are left; what is not exactly a frame is an error; a frame that a later
 * version may send is `unknown` instead. A frame is read to its end before a name in it is judged, so that of several
 * things that are wrong every client finds the same one: protocol/malformed.json.
 */

import { Code } from "./codes.js";
import { FanfareError } from "./errors.js";
import {
  FORMATS, NAME_BYTES,
  type ClientFrame, type ExpiryScope, type Format, type Formatted, type Outcome, type Present, type Sender,
  type ServerFrame, type Target,
} from "./frames.js";
import { idFromText, idToText } from "./ids.js";
import { PREFIX_BYTES } from "./stream.js";

/** The longest list that is read. */
const LIST_CEILING = 1 << 16;

const TEXT = new TextEncoder();
const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function malformed(what: string): FanfareError {
  return new FanfareError("protocol", `the server sent a malformed frame: ${what}`, Code.MalformedFrame);
}

/** The extension of an `ack` that names the nodes that were silent. */
const SILENT = 2n;

/** A number to which this version gives no meaning: what follows it cannot be read. */
class Unknown extends Error {}

/** A frame that is being written. */
class Writer {
  private bytes = new Uint8Array(128);
  private length = PREFIX_BYTES;

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
  integer(value: number | bigint): this {
    const little = (marker: number, count: number): this => {
      this.byte(marker);
      for (let at = 0, rest = BigInt(value); at < count; at++, rest >>= 8n) this.byte(Number(rest & 255n));
      return this;
    };
    if (value <= 250) return this.byte(Number(value));
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
    // Encoding would replace it, and that is another name.
    if (/\p{Surrogate}/u.test(name)) {
      throw new FanfareError("argument", `the ${what} name has half of a surrogate pair, which UTF-8 does not have`);
    }
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

  /** A payload, with its format before it. */
  payload({ format, bytes }: Formatted): this {
    const number = typeof format === "number" ? format : FORMATS.indexOf(format);
    // Written as a byte it would be another format.
    if (!Number.isInteger(number) || number < 0 || number > 255) {
      const formats = `${FORMATS.join(", ")}, or a number from 0 to 255`;
      throw new FanfareError("argument", `the format is ${String(format)}; it must be ${formats}`);
    }
    return this.byte(number).blob(bytes);
  }

  /** The part of a message that is the same for all its targets. */
  body(event: string, format: Format, bytes: Uint8Array): this {
    return this.name("event", event).payload({ format, bytes });
  }

  outcome(outcome: Outcome): this {
    if (outcome === "nothing") return this.byte(0);
    if ("value" in outcome) return this.byte(1).payload(outcome.value);
    const { code, detail, data } = outcome.failed;
    return this.byte(2).integer(code).text(detail).payload(data);
  }

  /** The frame with its length before it. */
  frame(): Uint8Array {
    new DataView(this.bytes.buffer).setUint32(0, this.size(), true);
    return this.bytes.slice(0, this.length);
  }

  /** How many bytes the frame has without its length. */
  size(): number {
    return this.length - PREFIX_BYTES;
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
    case "invoke":
      writer.byte(6).integer(frame.request).name("method", frame.method).integer(frame.credit);
      writer.integer(frame.streams.length);
      for (const stream of frame.streams) writer.integer(stream);
      writer.payload(frame.arguments);
      break;
    case "cancel":
      writer.byte(7).integer(frame.request);
      break;
    case "credit":
      writer.byte(8).integer(frame.request).integer(frame.items);
      break;
    case "streamItem":
      writer.byte(128).integer(frame.stream).payload(frame.item);
      break;
    case "streamEnd":
      writer.byte(129).integer(frame.stream).outcome(frame.failure ? { failed: frame.failure } : "nothing");
      break;
    case "clientCompletion":
      writer.byte(130).integer(frame.call).outcome(frame.outcome);
      break;
    case "watch":
      writer.byte(9).integer(frame.request).name("group", frame.group);
      break;
    case "unwatch":
      writer.byte(10).integer(frame.request).name("group", frame.group);
      break;
    default:
      frame satisfies never;
  }
  return writer.frame();
}

/** How many bytes a message has in a datagram to a recipient. */
export function datagramBytes(
  from: { readonly connection: string; readonly user: string }, to: Target, event: string, payload: Uint8Array,
): number {
  const writer = new Writer();
  writer.byte(3).byte(0).raw(idFromText(from.connection)).name("user", from.user).target(to);
  return writer.body(event, 0, payload).size();
}

/** Reads a frame from its first byte to its last. */
class Reader {
  private at = 0;
  /** A name that is out of bounds. It counts only when the whole frame was read. */
  private invalidName = false;

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

  /** An integer of so many bytes at most, whose form may be longer than it needs. */
  exact(width: 2 | 4 | 8): bigint {
    const first = this.byte();
    if (first <= 250) return BigInt(first);
    const length = { 251: 2, 252: 4, 253: 8 }[first];
    if (length === undefined || length > width) throw malformed(`an integer begins with ${first}`);
    return this.raw(length).reduceRight((value, byte) => (value << 8n) | BigInt(byte), 0n);
  }

  /** The same as a number: exact up to 2^53, and above that as near as a number can be. */
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
      throw malformed("a string in it is not UTF-8");
    }
  }

  name(): string {
    const name = this.text();
    this.invalidName ||= name === "" || TEXT.encode(name).length > NAME_BYTES;
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

  payload(): Formatted {
    return { format: this.format(), bytes: this.blob().slice() };
  }

  bool(): boolean {
    const byte = this.byte();
    if (byte > 1) throw malformed("a yes or no in it is neither 0 nor 1");
    return byte === 1;
  }

  /** Elements that have `least` bytes at least. */
  list<T>(least: number, element: () => T): T[] {
    const count = this.integer(8);
    if (count > Math.min(LIST_CEILING, (this.bytes.length - this.at) / least)) {
      throw malformed("a length in it is beyond its end");
    }
    return Array.from({ length: count }, element);
  }

  present(): Present[] {
    return this.list(4, () => {
      const [user, connections] = [this.name(), this.integer(4)];
      return { user, connections, data: this.bool() ? this.payload() : undefined };
    });
  }

  outcome(): Outcome {
    const number = this.integer(4);
    switch (number) {
      case 0: return "nothing";
      case 1: return { value: this.payload() };
      case 2: return { failed: { code: this.integer(2), detail: this.text(), data: this.payload() } };
      default: throw new Unknown(`outcome ${number}`);
    }
  }

  /**
   * Reads what stands behind the last field, and judges the frame: extensions, of which those with an odd number must
   * be known, and then the names. The content of the one with the number `known` is read by `take`.
   */
  end<T>(value: T, known?: bigint, take?: (content: Reader) => void): T {
    let last = -1n;
    let critical: bigint | undefined;
    while (this.at < this.bytes.length) {
      const number = this.exact(8);
      if (number <= last) throw malformed("its extensions do not stand in the order of their numbers");
      last = number;
      const content = this.blob();
      if (number === known) take?.(new Reader(content));
      else if (number % 2n === 1n) critical ??= number;
    }
    if (critical !== undefined) {
      const why = `the server sent extension ${critical}, which must be understood and is not known here`;
      throw new FanfareError("protocol", why, Code.ExtensionNotKnown);
    }
    if (this.invalidName) throw malformed(`a name in it does not have 1 to ${NAME_BYTES} bytes`);
    return value;
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

/** The version that a `welcome` says, whatever stands behind it; none for another frame. */
export function welcomeVersion(bytes: Uint8Array): number | undefined {
  const reader = new Reader(bytes);
  try {
    return reader.integer(4) === 0 ? reader.integer(4) : undefined;
  } catch {
    // What is wrong with it is said when it is read.
    return undefined;
  }
}

function read(reader: Reader): ServerFrame {
  const number = reader.integer(4);
  switch (number) {
    case 0: {
      const [protocol, features, connection] = [reader.integer(4), reader.exact(8), reader.id()];
      const [nodeBytes, session, position] = [reader.byte(), reader.raw(16).slice(), reader.exact(8)];
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
    case 1: {
      let silent: string[] | undefined;
      const ack = { kind: "ack" as const, request: reader.integer(8), count: reader.integer(8) };
      // A later version may have more behind the names.
      reader.end(ack, SILENT, (content) => (silent = content.list(1, () => content.text())));
      return silent ? { ...ack, silent } : ack;
    }
    case 2:
      return reader.end({ kind: "error", request: reader.integer(8), code: reader.integer(2), detail: reader.text() });
    case 3: {
      const [from, to, event] = [reader.sender(), reader.target(), reader.name()];
      const format = reader.format();
      return reader.end({ kind: "message", from, to, event, format, payload: reader.blob().slice() });
    }
    case 4: return reader.end({ kind: "joined", group: reader.name(), members: reader.integer(8) });
    case 5:
      return reader.end({ kind: "removed", group: reader.name(), code: reader.integer(2), reason: reader.text() });
    case 6:
      return reader.end({
        kind: "goodbye", code: reader.integer(2), reason: reader.text(), retryAfter: reader.integer(4),
      });
    case 7: return reader.end({ kind: "lagged", dropped: reader.integer(8) });
    case 8: return reader.end({ kind: "expiring", scope: reader.scope(), seconds: reader.integer(4) });
    case 9: return reader.end({ kind: "completion", request: reader.integer(8), outcome: reader.outcome() });
    case 10: return reader.end({ kind: "resultItem", request: reader.integer(8), item: reader.payload() });
    case 11: {
      const [call, method] = [reader.exact(8), reader.name()];
      return reader.end({ kind: "clientInvoke", call, method, arguments: reader.payload() });
    }
    case 12: return reader.end({ kind: "clientCancel", call: reader.exact(8) });
    case 13: return reader.end({ kind: "streamCredit", stream: reader.integer(8), items: reader.integer(4) });
    case 14: return reader.end({ kind: "streamStop", stream: reader.integer(8) });
    case 15: {
      const [group, revision] = [reader.name(), reader.integer(8)];
      const [begins, complete] = [reader.bool(), reader.bool()];
      return reader.end({ kind: "snapshot", group, revision, begins, complete, present: reader.present() });
    }
    case 16: {
      const [group, revision, present] = [reader.name(), reader.integer(8), reader.present()];
      return reader.end({ kind: "changes", group, revision, present, left: reader.list(2, () => reader.name()) });
    }
    case 17:
      return reader.end({ kind: "watchEnded", group: reader.name(), code: reader.integer(2), reason: reader.text() });
    default: throw new Unknown(`frame ${number}`);
  }
}
