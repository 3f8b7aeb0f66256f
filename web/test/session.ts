/**
 * A scripted server in place of the browser's WebTransport, for this client under Node.
 *
 * In: frames as tests/scenarios has them. Out: what the client sent and closed with. How browsers behave is what
 * browsers.test.ts is for.
 */

import assert from "node:assert/strict";

import { Series } from "./series.js";

const integer = (value: number): number[] =>
  value <= 250 ? [value]
  : value <= 0xffff ? [251, value & 255, value >> 8]
  : [252, value & 255, (value >> 8) & 255, (value >> 16) & 255, value >>> 24];
const wide = (value: number): number[] => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return [253, ...bytes];
};
const text = (value: string): number[] => [...integer(Buffer.byteLength(value)), ...Buffer.from(value)];

function framed(body: number[]): Uint8Array {
  const length = Buffer.alloc(4);
  length.writeUInt32LE(body.length);
  return Uint8Array.from([...length, ...body]);
}

/** A value of a call, which goes as JSON. */
const payload = (value: unknown): number[] => [2, ...text(JSON.stringify(value))];

/** What came of a call, as scenarios have it. */
function outcome(outcome: any): number[] {
  if (outcome === "nothing") return [0];
  if ("value" in outcome) return [1, ...payload(outcome.value)];
  const { failed, detail = "", data } = outcome;
  return [2, ...integer(failed), ...text(detail), ...(data === undefined ? [0, 0] : payload(data))];
}

/** Users who are present, of whom the application says nothing. */
const present = (users: Record<string, number>): number[] => [
  Object.keys(users).length,
  ...Object.entries(users).flatMap(([user, connections]) => [...text(user), ...integer(connections), 0]),
];

/** A server's frame of a scenario, with what the step has behind its fields. */
function encoded(frame: Record<string, any>, behind = ""): Uint8Array {
  if (behind) return framed([...encoded(frame).subarray(4), ...Buffer.from(behind, "hex")]);
  const [[name, value]] = Object.entries(frame) as [[string, any]];
  switch (name) {
    case "Raw": return framed([...Buffer.from(value, "hex")]);
    case "Welcome": {
      const [id, session] = [new Array<number>(16).fill(1), new Array<number>(16).fill(0)];
      const limits = [67_584, 65_536, 1_000, 256].flatMap(integer);
      const [features, user, server] = [wide(value.features ?? 0), text("alice"), text("scripted")];
      return framed([0, 1, ...features, ...id, 4, ...session, 0, ...user, ...limits, ...server]);
    }
    case "Message": {
      const payload = Buffer.from(value.payload, "hex");
      return framed([3, 1, 3, ...text("E"), value.format, payload.length, ...payload]);
    }
    case "Lagged": return framed([7, ...integer(value.dropped)]);
    case "Ack": return framed([1, ...integer(value.request), ...integer(value.count)]);
    case "Error": return framed([2, ...integer(value.request), ...integer(value.code), ...text(value.detail)]);
    case "Joined": return framed([4, ...text(value.group), ...integer(value.members)]);
    case "Removed": return framed([5, ...text(value.group), ...integer(value.code), ...text(value.reason)]);
    case "Goodbye": return framed([6, ...integer(value.code), ...text(value.reason), ...integer(value.retry_after_ms)]);
    case "Expiring": return framed([8, 0, ...integer(value.seconds)]);
    case "Completion": return framed([9, ...integer(value.request), ...outcome(value.outcome)]);
    case "ResultItem": return framed([10, ...integer(value.request), ...payload(value.item)]);
    case "ClientInvoke": {
      return framed([11, ...integer(value.call), ...text(value.method), ...payload(value.arguments)]);
    }
    case "ClientCancel": return framed([12, ...integer(value.call)]);
    case "StreamCredit": return framed([13, ...integer(value.stream), ...integer(value.items)]);
    case "StreamStop": return framed([14, ...integer(value.stream)]);
    case "Snapshot": {
      const flags = [value.begins, value.complete].map(Number);
      return framed([15, ...text(value.group), ...integer(value.revision), ...flags, ...present(value.present)]);
    }
    case "Changes": {
      const left = [value.left.length, ...value.left.flatMap(text)];
      return framed([16, ...text(value.group), ...integer(value.revision), ...present(value.present), ...left]);
    }
    case "WatchEnded": return framed([17, ...text(value.group), ...integer(value.code), ...text(value.reason)]);
    default: throw new Error(`a scenario says ${name}`);
  }
}

export interface Asked {
  /** The number of the request, or of the call or stream that it is about. */
  readonly request: number;
  readonly what: unknown;
  /** The streams of an Invoke. */
  readonly streams?: readonly number[];
}

/** A client's frame, as scenarios have it. */
function decoded(frame: Uint8Array): Asked {
  const bytes = Buffer.from(frame.subarray(4));
  let at = 0;
  const number = (): number => {
    const first = bytes.readUInt8(at++);
    if (first <= 250) return first;
    assert.equal(first, 251);
    at += 2;
    return bytes.readUInt16LE(at - 2);
  };
  const word = (): string => {
    const length = number();
    return bytes.toString("utf8", at, (at += length));
  };
  const target = (): void => {
    const kind = number();
    if (kind === 0) at += 16;
    else if (kind < 3) word();
  };
  const payload = (): unknown => {
    const [format, length] = [number(), number()];
    const content = bytes.subarray(at, (at += length));
    return format === 2 ? JSON.parse(content.toString()) : { format, hex: content.toString("hex") };
  };
  const ended = (): unknown => {
    const kind = number();
    if (kind === 0) return "nothing";
    if (kind === 1) return { value: payload() };
    const [failed, detail] = [number(), word()];
    // Nothing, in binary: neither client says anything to programs.
    assert.deepEqual(payload(), { format: 0, hex: "" });
    return { failed, detail };
  };
  switch (number()) {
    case 0: {
      assert.deepEqual([number(), number()], [1, 6]);
      return { request: 0, what: number() === 0 ? { token: word() } : { user: word() } };
    }
    case 1: return { request: number(), what: { join: word() } };
    case 2: return { request: number(), what: { leave: word() } };
    case 3: {
      const request = number();
      at++;
      for (let targets = number(); targets > 0; targets--) target();
      const exceptions = number();
      at += 16 * exceptions + 1;
      return { request, what: { send: word() } };
    }
    case 4: return { request: number(), what: "count" };
    case 5: return { request: number(), what: { refresh: word() } };
    case 6: {
      const [request, method, credit] = [number(), word(), number()];
      const streams = Array.from({ length: number() }, number);
      return { request, what: { invoke: { method, credit, streams: streams.length, args: payload() } }, streams };
    }
    case 7: return { request: number(), what: "cancel" };
    case 8: return { request: number(), what: { credit: number() } };
    case 9: return { request: number(), what: { watch: word() } };
    case 10: return { request: number(), what: { unwatch: word() } };
    case 128: return { request: number(), what: { item: payload() } };
    case 129: return { request: number(), what: { end: ended() } };
    case 130: return { request: number(), what: { answer: ended() } };
    default: throw new Error("no scenario knows this frame");
  }
}

export const sessions = new Series<Session>();

/** An error as browsers have it. Firefox gives that of a session a code as well. */
const error = (source: "stream" | "session", streamErrorCode: number | null) =>
  Object.assign(new Error(`the ${source} has ended`), { source, streamErrorCode });

/**
 * The part of the browser's WebTransport that the client uses; its other end is the scripted server. What browsers do
 * was measured: a stream that the server finished is `done`, and one that was broken off, or whose session has ended,
 * fails.
 */
export class Session {
  readonly ready = Promise.resolve();
  readonly got = new Series<Asked>();
  private datagram!: ReadableStreamDefaultController<Uint8Array>;
  readonly datagrams = {
    maxDatagramSize: 1_200,
    readable: new ReadableStream<Uint8Array>({ start: (controller) => void (this.datagram = controller) }),
  };
  /** What the client closed with, where it did before the server. */
  readonly closedWith = new Series<number>();
  /** Whether it answers at once when the client finishes its half. */
  answersFinish = true;
  isOver = false;
  private tellClosed!: (info: { closeCode: number; reason: string }) => void;
  private tellLost!: (error: Error) => void;
  readonly closed = new Promise<{ closeCode: number; reason: string }>((settle, reject) => {
    this.tellClosed = settle;
    this.tellLost = reject;
  });
  private controller!: ReadableStreamDefaultController<Uint8Array>;
  private readonly readable = new ReadableStream<Uint8Array>({
    start: (controller) => void (this.controller = controller),
  });
  private writing!: WritableStreamDefaultController;
  private readonly writable = new WritableStream<Uint8Array>({
    start: (controller) => void (this.writing = controller),
    write: (frame) => this.got.push(decoded(frame)),
    close: () => this.finished(),
  });

  constructor(readonly url = "") {
    sessions.push(this);
  }

  async createBidirectionalStream() {
    return { readable: this.readable, writable: this.writable };
  }

  say(frame: Record<string, any>, behind?: string): void {
    this.controller.enqueue(encoded(frame, behind));
  }

  sayBytes(hex: string): void {
    this.controller.enqueue(Uint8Array.from(Buffer.from(hex, "hex")));
  }

  sayUnreliably(frame: Record<string, any>, behind?: string): void {
    this.datagram.enqueue(encoded(frame, behind).subarray(4));
  }

  /** The client is done; the server answers as PROTOCOL.md, section 12, says. */
  private finished(): void {
    if (!this.answersFinish) return;
    this.finish();
    this.end(0, "");
  }

  /** The server's close. */
  end(closeCode: number, reason: string): void {
    if (this.isOver) return;
    this.isOver = true;
    this.fail(error("session", null));
    this.tellClosed({ closeCode, reason });
  }

  finish(): void {
    try {
      this.controller.close();
    } catch {
      // It was finished, or broken off.
    }
  }

  private fail(error: Error): void {
    try {
      this.controller.error(error);
    } catch {
      // It was finished.
    }
  }

  /** Takes nothing any more (STOP_SENDING). In Chromium the other half goes on. */
  stop(code: number): void {
    this.writing.error(error("stream", code));
  }

  /** Breaks the stream off. With a code it waits for the client's close, as the server does; without one it is lost. */
  break(code: number | true): void {
    if (code !== true) return this.fail(error("stream", code));
    this.isOver = true;
    this.fail(error("session", null));
    this.tellLost(new Error("the session was lost"));
  }

  /** The client's own close. */
  close(info?: { closeCode?: number; reason?: string }): void {
    if (this.isOver) return;
    this.isOver = true;
    this.closedWith.push(info?.closeCode ?? 0);
    this.fail(error("session", 20));
    this.tellClosed({ closeCode: info?.closeCode ?? 0, reason: info?.reason ?? "" });
  }
}

Object.assign(globalThis, { WebTransport: Session });
