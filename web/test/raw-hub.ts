/**
 * A client of SignalR's hub protocol by hand, in JSON or in MessagePack, on a raw WebSocket.
 *
 * In: messages, well-formed or not. Out: the server's messages as arrays, and what its `Close` said. Invariant: what it
 * reads is held to what the strictest of the real clients takes: no member that is null but a result and an item, none
 * that they do not know, whole records, text for JSON and binary for MessagePack.
 */

import assert from "node:assert/strict";

import { BINARY, RawSocket, TEXT } from "./raw-socket.js";
import { DEADLINE } from "./series.js";
import type { Encoding } from "./signalr-scene.js";

const SEPARATOR = "\x1e";

/** The members that each type of message has and may have. With one more pysignalr dies. */
const MEMBERS: Record<number, { must: string[]; may: string[] }> = {
  1: { must: ["type", "target", "arguments"], may: ["invocationId"] },
  2: { must: ["type", "invocationId", "item"], may: [] },
  3: { must: ["type", "invocationId"], may: ["result", "error"] },
  6: { must: ["type"], may: [] },
  7: { must: ["type"], may: ["error", "allowReconnect"] },
};

export type Message = Record<string, unknown> & { type: number };

export class RawHub {
  private waiting: Message[] = [];

  private constructor(readonly socket: RawSocket, readonly encoding: Encoding) {}

  /** Connects, and is let in. */
  static async open(url: string, encoding: Encoding = "json", headers: Record<string, string> = {}): Promise<RawHub> {
    const socket = await RawSocket.open(url, headers);
    socket.send(handshake(encoding));
    const answer = await socket.next("the handshake's answer");
    assert.equal(answer?.bytes.toString(), `{}${SEPARATOR}`);
    return new RawHub(socket, encoding);
  }

  say(message: object): void {
    this.socket.send(this.encoding === "json" ? record(message) : framed(pack(listed(message as Message))));
  }

  /** The next message that is no ping; `undefined` behind the last. */
  async next(what = "a message"): Promise<Message | undefined> {
    // Of everything together: the server's pings must not put it off.
    const deadline = Date.now() + DEADLINE;
    for (;;) {
      assert.ok(Date.now() < deadline, `waited for ${what}`);
      const message = this.waiting.shift();
      if (message !== undefined) {
        check(message);
        if (message.type !== 6) return message;
        continue;
      }
      const received = await this.socket.next(what);
      if (!received) return undefined;
      if (this.encoding === "json") {
        assert.equal(received.opcode, TEXT);
        const text = received.bytes.toString();
        assert.ok(text.endsWith(SEPARATOR), "a WebSocket message has whole records");
        this.waiting.push(...text.slice(0, -1).split(SEPARATOR).map((one) => JSON.parse(one) as Message));
      } else {
        assert.equal(received.opcode, BINARY);
        this.waiting.push(...unframed(received.bytes).map((one) => named(unpack(one) as unknown[])));
      }
    }
  }

  /** Calls, and waits for what comes of it. */
  async call(target: string, ...args: unknown[]): Promise<Message> {
    const invocationId = `c${counter++}`;
    this.say({ type: 1, invocationId, target, arguments: args });
    for (;;) {
      const message = await this.next(`what comes of ${target}`);
      assert.ok(message, `the connection ended before ${target} did`);
      if (message.type === 3 && message["invocationId"] === invocationId) return message;
    }
  }

  /** Waits for `Close`, which must come, with WebSocket's own ordinary one behind it. */
  async closed(): Promise<Message> {
    for (;;) {
      const message = await this.next("Close");
      assert.ok(message, "it ended without Close");
      if (message.type !== 7) continue;
      assert.equal(await this.socket.next(), undefined, "nothing comes behind Close");
      assert.equal(await this.socket.end(), 1000);
      return message;
    }
  }
}

let counter = 0;

export function record(message: object): string {
  return JSON.stringify(message) + SEPARATOR;
}

export function handshake(protocol: string, version = 1): string {
  return record({ protocol, version });
}

/** What no real client of those in the matrix would stumble over. */
function check(message: Message): void {
  const members = MEMBERS[message.type];
  assert.ok(members, `no client knows the type ${message.type}`);
  const names = Object.keys(message);
  for (const name of members.must) assert.ok(names.includes(name), `${name} is missing in ${JSON.stringify(message)}`);
  for (const name of names) {
    assert.ok(members.must.includes(name) || members.may.includes(name), `${name} in ${JSON.stringify(message)}`);
    if (name !== "result" && name !== "item") assert.notEqual(message[name], null, `${name} is null`);
  }
  assert.ok(!("error" in message && "result" in message), "a completion has one of the two");
}

/** A message as MessagePack has it. */
function listed(message: Message): unknown[] {
  const { type, invocationId: id = null, target, arguments: args, streamIds: streams = [], item, result } = message;
  switch (type) {
    case 1: case 4: return [type, {}, id, target, args, streams];
    case 2: return [type, {}, id, item];
    case 3: {
      if (message["error"] !== undefined) return [type, {}, id, 1, message["error"]];
      return result === undefined ? [type, {}, id, 2] : [type, {}, id, 3, result];
    }
    case 5: return [type, {}, id];
    case 7: return [type, null];
    default: return [type];
  }
}

/** The other way round, with the same members as in JSON. */
function named(list: unknown[]): Message {
  const [type, ...rest] = list as [number, ...unknown[]];
  const size = { 1: [6], 2: [4], 3: [4, 5], 6: [1], 7: [2, 3] }[type];
  assert.ok(size?.includes(list.length), `${list.length} elements in a message of type ${type}`);
  const id = (value: unknown) => (value === null ? {} : { invocationId: value });
  switch (type) {
    case 1: {
      assert.deepEqual(rest[4], [], "no server announces streams");
      return { type, ...id(rest[1]), target: rest[2], arguments: rest[3] };
    }
    case 2: return { type, invocationId: rest[1], item: rest[2] };
    case 3: {
      const said = { 1: { error: rest[3] }, 2: {}, 3: { result: rest[3] } }[rest[2] as number];
      assert.equal(list.length, rest[2] === 2 ? 4 : 5);
      return { type, invocationId: rest[1], ...said };
    }
    case 7: {
      const [error, allowReconnect] = rest;
      const why = error === null ? {} : { error };
      return { type, ...why, ...(allowReconnect === undefined ? {} : { allowReconnect }) };
    }
    default: return { type };
  }
}

/** A message with its length in front. */
export function framed(body: Uint8Array): Buffer {
  const length: number[] = [];
  for (let rest = body.length; ; rest >>= 7) {
    if (rest < 0x80) {
      length.push(rest);
      break;
    }
    length.push((rest & 0x7f) | 0x80);
  }
  return Buffer.concat([Buffer.from(length), body]);
}

function unframed(bytes: Buffer): Buffer[] {
  const messages: Buffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    let [length, shift] = [0, 0];
    for (let byte = 0x80; byte >= 0x80; shift += 7) {
      byte = bytes.readUInt8(at++);
      length |= (byte & 0x7f) << shift;
    }
    assert.ok(at + length <= bytes.length, "a WebSocket message has whole messages");
    messages.push(bytes.subarray(at, (at += length)));
  }
  return messages;
}

/** As much of MessagePack as these tests say. */
export function pack(value: unknown): Buffer {
  const bytes = (...parts: (number | Uint8Array)[]) =>
    Buffer.concat(parts.map((part) => (typeof part === "number" ? Buffer.of(part) : part)));
  const wide = (mark: number, length: number) => {
    const head = Buffer.alloc(5);
    head.writeUInt8(mark, 0);
    head.writeUInt32BE(length, 1);
    return head;
  };
  if (value === null || value === undefined) return bytes(0xc0);
  if (typeof value === "boolean") return bytes(value ? 0xc3 : 0xc2);
  if (typeof value === "number") return Number.isInteger(value) && value >= 0 ? wide(0xce, value) : double(value);
  if (typeof value === "string") return bytes(wide(0xdb, Buffer.byteLength(value)), Buffer.from(value));
  if (value instanceof Uint8Array) return bytes(wide(0xc6, value.length), value);
  if (Array.isArray(value)) return bytes(wide(0xdd, value.length), ...value.map(pack));
  const members = Object.entries(value);
  return bytes(wide(0xdf, members.length), ...members.flatMap((member) => member.map(pack)));
}

function double(value: number): Buffer {
  const bytes = Buffer.alloc(9);
  bytes.writeUInt8(0xcb, 0);
  bytes.writeDoubleBE(value, 1);
  return bytes;
}

/** As much of it as the server answers here. */
export function unpack(bytes: Buffer): unknown {
  let at = 0;
  const number = (size: number) => {
    at += size;
    return bytes.readUIntBE(at - size, size);
  };
  const text = (length: number) => bytes.toString("utf8", at, (at += length));
  const list = (length: number): unknown[] => Array.from({ length }, () => value());
  const map = (length: number) => Object.fromEntries(list(length * 2).flatMap((key, index, all) => {
    return index % 2 === 0 ? [[String(key), all[index + 1]]] : [];
  }));
  const value = (): unknown => {
    const first = number(1);
    if (first < 0x80) return first;
    if (first < 0x90) return map(first & 0x0f);
    if (first < 0xa0) return list(first & 0x0f);
    if (first < 0xc0) return text(first & 0x1f);
    if (first >= 0xe0) return first - 0x100;
    switch (first) {
      case 0xc0: return null;
      case 0xc2: return false;
      case 0xc3: return true;
      case 0xc4: case 0xc5: case 0xc6: {
        const length = number(1 << (first - 0xc4));
        return bytes.subarray(at, (at += length));
      }
      case 0xcb: {
        at += 8;
        return bytes.readDoubleBE(at - 8);
      }
      case 0xcc: case 0xcd: case 0xce: return number(1 << (first - 0xcc));
      case 0xd9: case 0xda: case 0xdb: return text(number(1 << (first - 0xd9)));
      case 0xdc: case 0xdd: return list(number(first === 0xdc ? 2 : 4));
      case 0xde: case 0xdf: return map(number(first === 0xde ? 2 : 4));
      default: throw new Error(`MessagePack's ${first.toString(16)} was not expected here`);
    }
  };
  const found = value();
  assert.equal(at, bytes.length, "nothing comes behind a value");
  return found;
}
