/** The codec against the golden vectors, and against the malformed frames that every codec is held to. */

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { resolve } from "node:path";
import { test } from "node:test";

import { decodeServer, encodeClient } from "../src/codec.js";
import { Code, mayReconnect } from "../src/codes.js";
import { FanfareError } from "../src/errors.js";
import {
  FORMATS, FRAME_CEILING, type ClientFrame, type Failure, type Formatted, type Outcome, type Present,
  type Target,
} from "../src/frames.js";
import { Incoming } from "../src/incoming.js";
import { idFromText, idToText } from "../src/ids.js";
import { FrameReader } from "../src/stream.js";

const ROOT = resolve(import.meta.dirname, "../../..");

interface Vector {
  readonly name: string;
  readonly from: "client" | "server";
  readonly hex: string;
  // As serde writes it: an enum is its name, or an object with its name.
  readonly frame?: Record<string, any>;
  /** Extensions behind the fields, which are passed over. */
  readonly skipped?: readonly [number, string][];
  /** What of it is not known, and the request. */
  readonly unknown?: Record<string, number>;
  /** The extension that is not known and must be understood. */
  readonly critical?: { readonly extension: number };
}

/** Those of every version. */
const FILES = readdirSync(resolve(ROOT, "protocol/vectors"));
const read = (path: string) => readFileSync(resolve(ROOT, path), "utf8");
/** Numbers of 64 bits as they are: those that no number of JavaScript is equal to become a bigint. */
const exact = (json: string) =>
  JSON.parse(json.replace(/(?<=[:[,])\d{16,}(?=[,\]}])/g, '"$&n"'), (_, value: unknown) =>
    typeof value === "string" && /^\d{16,}n$/.test(value) ? BigInt(value.slice(0, -1)) : value,
  ) as Vector[];
const VECTORS = FILES.flatMap((file) => exact(read(`protocol/vectors/${file}`)));
const bytes = (hex: string) => Uint8Array.from(Buffer.from(hex, "hex"));
const id = (hex: string) => idToText(bytes(hex));

function target(value: any): Target {
  if (value === "All") return "all";
  if ("Connection" in value) return { connection: id(value.Connection) };
  return "User" in value ? { user: value.User } : { group: value.Group };
}

const format = (number: number) => FORMATS[number] ?? number;
const payload = (value: any): Formatted => ({ format: format(value.format), bytes: bytes(value.payload) });
const failure = ({ code, detail, data }: any): Failure => ({ code, detail, data: payload(data) });

const present = ({ user, connections, data }: any): Present =>
  ({ user, connections, data: data ? payload(data) : undefined });

function outcome(value: any): Outcome {
  if (value === "Nothing") return "nothing";
  return "Value" in value ? { value: payload(value.Value) } : { failed: failure(value.Failed) };
}

/** A client's frame of the vectors, as ours. */
function client(frame: Record<string, any>): ClientFrame | undefined {
  const [[name, value]] = Object.entries(frame) as [[string, any]];
  switch (name) {
    case "Hello": {
      if (value.credential === "Certificate") return undefined;
      const { Token: token, DevUser: devUser } = value.credential;
      const credential = token === undefined ? { devUser } : { token };
      return { kind: "hello", protocol: value.protocol, features: BigInt(value.features), credential };
    }
    case "Join": return { kind: "join", ...value };
    case "Leave": return { kind: "leave", ...value };
    case "Count": return { kind: "count", request: value.request, target: target(value.target) };
    case "Refresh": return { kind: "refresh", ...value };
    case "Send": {
      const [to, except] = [value.to.map(target), value.except.map(id)];
      return { kind: "send", ...value, to, except, format: format(value.format), payload: bytes(value.payload) };
    }
    case "Invoke": return { kind: "invoke", ...value, arguments: payload(value.arguments) };
    case "Cancel": return { kind: "cancel", ...value };
    case "Credit": return { kind: "credit", ...value };
    case "StreamItem": return { kind: "streamItem", stream: value.stream, item: payload(value.item) };
    case "StreamEnd": {
      const { Failed: failed } = value.outcome;
      return { kind: "streamEnd", stream: value.stream, failure: failed && failure(failed) };
    }
    case "ClientCompletion":
      return { kind: "clientCompletion", call: BigInt(value.call), outcome: outcome(value.outcome) };
    case "Watch": return { kind: "watch", ...value };
    case "Unwatch": return { kind: "unwatch", ...value };
    default: throw new Error(`a vector of ${name}`);
  }
}

/** A server's frame of the vectors, as ours. */
function server(frame: Record<string, any>): object {
  const [[name, value]] = Object.entries(frame) as [[string, any]];
  const kind = name.charAt(0).toLowerCase() + name.slice(1);
  switch (name) {
    case "Welcome": {
      const { frame_bytes: frameBytes, payload_bytes: payloadBytes, groups, targets } = value.limits;
      const { node_bytes: nodeBytes, ...rest } = value;
      const [connection, session] = [id(value.connection), bytes(value.session)];
      const [features, position] = [BigInt(value.features), BigInt(value.position)];
      const limits = { frameBytes, payloadBytes, groups, targets };
      return { kind, ...rest, features, connection, nodeBytes, session, position, limits };
    }
    case "Message": {
      const sender = value.from.Connection;
      const from = sender ? { connection: id(sender.connection), user: sender.user } : "server";
      const to = target(value.to);
      return { kind, from, to, event: value.event, format: format(value.format), payload: bytes(value.payload) };
    }
    case "Expiring": {
      const scope = value.scope === "Token" ? "token" : { groups: value.scope.Groups.count };
      return { kind, seconds: value.seconds, scope };
    }
    case "Goodbye": return { kind, code: value.code, reason: value.reason, retryAfter: value.retry_after_ms };
    case "Completion": return { kind, ...value, outcome: outcome(value.outcome) };
    case "ResultItem": return { kind, ...value, item: payload(value.item) };
    case "ClientInvoke": return { kind, ...value, call: BigInt(value.call), arguments: payload(value.arguments) };
    case "Snapshot":
    case "Changes": return { kind, ...value, present: value.present.map(present) };
    case "ClientCancel": return { kind, call: BigInt(value.call) };
    default: return { kind, ...value };
  }
}

for (const vector of VECTORS) {
  test(`${vector.from}: ${vector.name}`, () => {
    if (vector.from === "client") {
      // What a later client says, this one does not.
      const frame = vector.skipped ? undefined : vector.frame && client(vector.frame);
      // Pages have no certificates to show.
      if (frame) assert.equal(Buffer.from(encodeClient(frame)).toString("hex"), vector.hex);
      return;
    }
    const whole = bytes(vector.hex);
    if (vector.unknown) {
      const [[of, number]] = Object.entries(vector.unknown).filter(([of]) => of !== "request") as [[string, number]];
      assert.deepEqual(decodeServer(whole.subarray(4)), { kind: "unknown", what: `${of} ${number}` });
      return;
    }
    if (vector.critical) {
      const { extension } = vector.critical;
      const told = (error: unknown) =>
        error instanceof FanfareError && error.code === Code.ExtensionNotKnown &&
        error.message.includes(` ${extension},`);
      assert.throws(() => decodeServer(whole.subarray(4)), told);
      return;
    }
    assert.ok(vector.frame);
    const wanted = server(vector.frame) as Record<string, unknown>;
    const found = decodeServer(whole.subarray(4)) as Record<string, unknown>;
    // These are as near as a number can be.
    for (const field of ["request", "count", "members", "dropped"]) {
      if (field in wanted) wanted[field] = Number(wanted[field]);
    }
    // What those who do not know it pass over, and we know.
    if (vector.name === "ack-part") wanted["silent"] = ["node-1", "b"];
    assert.deepEqual(found, wanted);
    // Cut off anywhere, or with a byte behind it, it is no frame; but without its extensions it is.
    const behind = vector.skipped ? Buffer.from(encodedExtensions(vector.skipped)).length : 0;
    for (let length = 0; length < whole.length - 4; length++) {
      if (behind > 0 && length === whole.length - 4 - behind) continue;
      assert.throws(() => decodeServer(whole.subarray(4, 4 + length)), FanfareError, `${length} bytes`);
    }
    assert.throws(() => decodeServer(Uint8Array.from([...whole.subarray(4), 0])), FanfareError);
  });
}

function encodedExtensions(extensions: readonly [number, string][]): number[] {
  return extensions.flatMap(([number, content]) => [number, content.length / 2, ...bytes(content)]);
}

test("extensions: numbers of any width, in their order, whole; odd ones must be understood", () => {
  const ack = (...behind: number[]) => decodeServer(Uint8Array.from([1, 1, 3, ...behind]));
  const code = (...behind: number[]) => {
    try {
      ack(...behind);
    } catch (error) {
      return error instanceof FanfareError ? error.code : error;
    }
    return undefined;
  };
  // 2^53 + 2 and 2^64 - 2 are even, 2^53 + 1 and 2^64 - 1 are not, and no number of JavaScript tells them apart.
  const [wide, last] = [[253, 2, 0, 0, 0, 0, 0, 32, 0], [253, 254, 255, 255, 255, 255, 255, 255, 255]];
  assert.deepEqual(ack(0, 0, ...wide, 1, 7, ...last, 0), { kind: "ack", request: 1, count: 3 });
  assert.equal(code(253, 1, 0, 0, 0, 0, 0, 32, 0, 0), Code.ExtensionNotKnown);
  assert.equal(code(...last, 0, 253, 255, 255, 255, 255, 255, 255, 255, 255, 0), Code.ExtensionNotKnown);
  // Nodes that were silent: a list of texts, with something of a later version behind it, and another extension.
  const named = { kind: "ack", request: 1, count: 3, silent: ["b"] };
  assert.deepEqual(ack(2, 3, 1, 1, 98), named);
  assert.deepEqual(ack(0, 0, 2, 5, 1, 1, 98, 7, 7, 4, 1, 0), named);
  assert.deepEqual(ack(2, 1, 0), { ...named, silent: [] });
  for (const content of [[], [1], [1, 2, 98], [1, 1, 255], [9, 0]]) {
    assert.equal(code(2, content.length, ...content), Code.MalformedFrame, `${content}`);
  }
  assert.equal(code(2, 3, 1, 1, 98, 3, 0), Code.ExtensionNotKnown);
});

interface Malformed {
  readonly name: string;
  readonly from: "client" | "server";
  readonly body?: string;
  readonly stream?: string;
  /** Whether it is the first frame of its connection, whose version is judged before the rest. */
  readonly first?: true;
  readonly becomes: number | "read" | "skipped";
}

/** The bytes of `01 07 fb0101 78*257`. */
function written(text: string): Uint8Array {
  const parts = text.split(" ").map((part) => {
    const [digits = "", times = "1"] = part.split("*");
    return digits.repeat(Number(times));
  });
  return bytes(parts.join(""));
}

/** A length, as it stands before a frame. */
function little(length: number): Uint8Array {
  const prefix = new Uint8Array(4);
  new DataView(prefix.buffer).setUint32(0, length, true);
  return prefix;
}

/** What becomes of a body, or of a stream that ends behind its last byte. */
async function fate({ body, stream, first }: Malformed): Promise<Malformed["becomes"]> {
  const incoming = (bytes: Uint8Array): Incoming => {
    const start = (controller: ReadableStreamDefaultController<Uint8Array>): void => {
      controller.enqueue(bytes);
      controller.close();
    };
    return new Incoming(new ReadableStream<Uint8Array>({ start }).getReader());
  };
  try {
    if (body !== undefined) {
      const bytes = written(body);
      const framed = Uint8Array.from([...little(bytes.length), ...bytes]);
      const frame = first ? await incoming(framed).first() : decodeServer(bytes);
      return frame?.kind === "unknown" ? "skipped" : "read";
    }
    const frames = incoming(written(stream ?? ""));
    while (await frames.next());
    return "read";
  } catch (error) {
    assert.ok(error instanceof FanfareError && error.code !== undefined, String(error));
    return error.code;
  }
}

// protocol/src/codec/tests/malformed.rs says how the table is written. This codec reads what servers send.
const MALFORMED = (JSON.parse(read("protocol/malformed.json")) as Malformed[]).filter(({ from }) => from === "server");
assert.ok(MALFORMED.length >= 40);
for (const row of MALFORMED) {
  test(`malformed: ${row.name}`, async () => assert.equal(await fate(row), row.becomes));
}

test("features and the position are exact", () => {
  const row = MALFORMED.find(({ name }) => name === "Welcome with features and a position that no float holds");
  const welcome = decodeServer(written(row?.body ?? ""));
  assert.ok(welcome.kind === "welcome");
  assert.deepEqual([welcome.features, welcome.position], [2n ** 63n + 1n, 2n ** 64n - 1n]);
});

test("frames are found in whatever chunks they come", () => {
  const stream = Buffer.concat(VECTORS.map((vector) => bytes(vector.hex)));
  for (const size of [1, 2, 3, 5, 7, 64, 1_000, stream.length]) {
    const reader = new FrameReader();
    const found: string[] = [];
    for (let at = 0; at < stream.length; at += size) {
      reader.push(stream.subarray(at, at + size));
      for (let frame = reader.next(); frame; frame = reader.next()) found.push(Buffer.from(frame).toString("hex"));
    }
    assert.deepEqual(found, VECTORS.map((vector) => vector.hex.slice(8)), `chunks of ${size}`);
    assert.ok(reader.isBetweenFrames());
  }
});

test("a frame that is too long is refused by its length alone", () => {
  const reader = new FrameReader();
  reader.push(little(FRAME_CEILING + 1));
  assert.throws(() => reader.next(), FanfareError);
});

test("a name is sent as it is, or not at all", () => {
  const join = (group: string) => Buffer.from(encodeClient({ kind: "join", request: 1, group })).toString("hex");
  assert.equal(join("\ud83c\udf89"), "0700000001" + "0104f09f8e89");
  for (const group of ["", "x".repeat(257), "\u{1f600}".repeat(64) + "x", "\ud800", "a\udc00"]) {
    assert.throws(() => join(group), FanfareError, JSON.stringify(group));
  }
});

test("an id is 26 characters, and nothing else is one", () => {
  for (const hex of ["00".repeat(16), "ff".repeat(16), "000102030405060708090a0b0c0d0e0f"]) {
    assert.equal(Buffer.from(idFromText(id(hex))).toString("hex"), hex);
    assert.equal(Buffer.from(idFromText(id(hex).toLowerCase())).toString("hex"), hex);
  }
  assert.equal(id("000102030405060708090a0b0c0d0e0f"), "00041061050R3GG28A1C60T3GF");
  const zeros = "0".repeat(25);
  // Upper case would make an S of the long s, and two of the sharp s.
  const others = [..."ILOU-i \u0131\u017f", "\u00df", "\ud800"].map((other) => zeros + other);
  for (const text of ["", zeros, zeros + "00", "8" + zeros, "0".repeat(24) + "\u00df", ...others]) {
    assert.throws(() => idFromText(text), FanfareError, text);
  }
});

test("the codes are those of PROTOCOL.md", () => {
  const rows = [...read("PROTOCOL.md").matchAll(/^\| (\d+) \| (\w+) \| [^|]+\. \| (yes|no) \|$/gm)];
  assert.deepEqual(rows.map(([, number, name]) => [name, Number(number)]), Object.entries(Code));
  for (const [, number, name, again] of rows) assert.equal(mayReconnect(Number(number)), again === "yes", name);
  assert.ok(!mayReconnect(9_999), "an unknown code was meant: only the code could say that coming back is welcome");
});
