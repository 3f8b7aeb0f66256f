/**
 * The scenarios that every client is held to (tests/scenarios/README.md says what a step means), for this client under Node.
 *
 * In: tests/scenarios/clients.json. Out: for each, what a scripted server got and what the application saw. The transport is an object of
 * this file in place of the browser's; how browsers behave is what browsers.test.ts is for.
 */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { test } from "node:test";

import { connect, type Client } from "../src/client.js";
import { FanfareError } from "../src/errors.js";
import type { Happenings } from "../src/types.js";

type Step = Record<string, any>;
interface Scenario {
  readonly name: string;
  readonly token?: string;
  readonly tokens?: readonly string[];
  readonly patience_ms?: number;
  readonly steps: readonly Step[];
}

const ROOT = resolve(import.meta.dirname, "../../..");
const SCENARIOS = JSON.parse(readFileSync(resolve(ROOT, "tests/scenarios/clients.json"), "utf8")) as Scenario[];
const DEADLINE = 20_000;

/** What comes one after the other, and can be waited for. */
class Series<T> {
  private items: T[] = [];
  private takers: ((item: T) => void)[] = [];

  push(item: T): void {
    const taker = this.takers.shift();
    if (taker) taker(item);
    else this.items.push(item);
  }

  async next(what: string): Promise<T> {
    if (this.items.length > 0) return this.items.shift() as T;
    let timer: ReturnType<typeof setTimeout> | undefined;
    try {
      return await new Promise<T>((settle, reject) => {
        this.takers.push(settle);
        timer = setTimeout(() => reject(new Error(`waited for ${what}`)), DEADLINE);
      });
    } finally {
      clearTimeout(timer);
    }
  }
}

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

/** A server's frame of a scenario, with what the step has behind its fields. */
function encoded(frame: Record<string, any>, behind = ""): Uint8Array {
  if (behind) return framed([...encoded(frame).subarray(4), ...Buffer.from(behind, "hex")]);
  const [[name, value]] = Object.entries(frame) as [[string, any]];
  switch (name) {
    case "Raw": return framed([...Buffer.from(value, "hex")]);
    case "Welcome": {
      const [id, session] = [new Array<number>(16).fill(1), new Array<number>(16).fill(0)];
      const limits = [67_584, 65_536, 1_000, 256].flatMap(integer);
      return framed([0, 1, ...wide(value.features ?? 0), ...id, 4, ...session, 0, ...text("alice"), ...limits, ...text("scripted")]);
    }
    case "Message": return framed([3, 1, 3, ...text("E"), value.format, value.payload.length / 2, ...Buffer.from(value.payload, "hex")]);
    case "Lagged": return framed([7, ...integer(value.dropped)]);
    case "Ack": return framed([1, ...integer(value.request), ...integer(value.count)]);
    case "Error": return framed([2, ...integer(value.request), ...integer(value.code), ...text(value.detail)]);
    case "Joined": return framed([4, ...text(value.group), ...integer(value.members)]);
    case "Removed": return framed([5, ...text(value.group), ...integer(value.code), ...text(value.reason)]);
    case "Goodbye": return framed([6, ...integer(value.code), ...text(value.reason), ...integer(value.retry_after_ms)]);
    case "Expiring": return framed([8, 0, ...integer(value.seconds)]);
    default: throw new Error(`a scenario says ${name}`);
  }
}

interface Asked {
  readonly request: number;
  readonly what: unknown;
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
  switch (number()) {
    case 0: {
      assert.deepEqual([number(), number()], [1, 0]);
      return { request: 0, what: number() === 0 ? { token: word() } : { user: word() } };
    }
    case 1: return { request: number(), what: { join: word() } };
    case 2: return { request: number(), what: { leave: word() } };
    case 4: return { request: number(), what: "count" };
    case 5: return { request: number(), what: { refresh: word() } };
    default: throw new Error("no scenario knows this frame");
  }
}

const sessions = new Series<Session>();

/** An error as browsers have it. Firefox gives that of a session a code as well. */
const error = (source: "stream" | "session", streamErrorCode: number | null) =>
  Object.assign(new Error(`the ${source} has ended`), { source, streamErrorCode });

/**
 * The part of the browser's WebTransport that the client uses; its other end is the scripted server. What browsers do was
 * measured: a stream that the server finished is `done`, and one that was broken off, or whose session has ended, fails.
 */
class Session {
  readonly ready = Promise.resolve();
  readonly got = new Series<Asked>();
  private datagram!: ReadableStreamDefaultController<Uint8Array>;
  readonly datagrams = {
    maxDatagramSize: 1_200,
    readable: new ReadableStream<Uint8Array>({ start: (controller) => void (this.datagram = controller) }),
  };
  /** What the client closed with. */
  readonly closedWith = new Series<number>();
  private over = false;
  private tellClosed!: (info: { closeCode: number; reason: string }) => void;
  private tellLost!: (error: Error) => void;
  readonly closed = new Promise<{ closeCode: number; reason: string }>((settle, reject) => {
    this.tellClosed = settle;
    this.tellLost = reject;
  });
  private controller!: ReadableStreamDefaultController<Uint8Array>;
  private readonly readable = new ReadableStream<Uint8Array>({ start: (controller) => void (this.controller = controller) });
  private readonly writable = new WritableStream<Uint8Array>({
    write: (frame) => this.got.push(decoded(frame)),
    close: () => this.finished(),
  });

  constructor() {
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
    this.finish();
    this.end(0, "");
  }

  /** The server's close. */
  end(closeCode: number, reason: string): void {
    if (this.over) return;
    this.over = true;
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

  /** Breaks the stream off. With a code it waits for the client's close, as the server does; without one it is lost. */
  break(code: number | true): void {
    if (code !== true) return this.fail(error("stream", code));
    this.over = true;
    this.fail(error("session", null));
    this.tellLost(new Error("the session was lost"));
  }

  /** The client's own close. */
  close(info?: { closeCode?: number; reason?: string }): void {
    if (this.over) return;
    this.over = true;
    this.closedWith.push(info?.closeCode ?? 0);
    this.fail(error("session", 20));
    this.tellClosed({ closeCode: info?.closeCode ?? 0, reason: info?.reason ?? "" });
  }
}

async function outcome(call: Promise<unknown>): Promise<unknown> {
  try {
    await call;
    return "done";
  } catch (error) {
    assert.ok(error instanceof FanfareError, String(error));
    return error.code ?? error.kind;
  }
}

/** The steps of a scenario, with those that are to be done for several numbers written out. */
function written(steps: readonly Step[]): Step[] {
  return steps.flatMap((step) => {
    if (!step["for"]) return [step];
    const [first, last] = step["for"] as [number, number];
    const each = JSON.stringify(step["steps"]);
    const numbers = Array.from({ length: last - first + 1 }, (_, at) => String(first + at).padStart(3, "0"));
    return numbers.flatMap((number) => written(JSON.parse(each.replaceAll("#", number)) as Step[]));
  });
}

class Run {
  private readonly seen = new Series<Step>();
  private connecting: Promise<Client> | undefined;
  private client: Client | undefined;
  private session: Session | undefined;
  private unanswered: number[] = [];
  private calls: Promise<unknown>[] = [];
  private letGo: (() => void)[] = [];
  private outage = false;

  constructor({ token, tokens, patience_ms }: Scenario) {
    const left = [...(tokens ?? [])];
    const tokenProvider = async (): Promise<string> => {
      const token = left.shift() ?? "!fail";
      if (token === "!fail") throw new Error("the sign-in service is down");
      if (!token.startsWith("!hang:")) return token;
      await new Promise<void>((settle) => this.letGo.push(settle));
      return token.slice("!hang:".length);
    };
    const who = tokens ? { tokenProvider } : token !== undefined ? { token } : { devUser: "alice" };
    const patience = { connectTimeout: DEADLINE, requestTimeout: patience_ms ?? DEADLINE };
    this.connecting = connect({ url: "https://scripted/fanfare", reconnect: { firstDelay: 1, maxDelay: 20 }, ...patience, ...who });
  }

  private watch(client: Client): void {
    const tell = <K extends keyof Happenings>(kind: K, as: (what: Happenings[K]) => Step): void => {
      client.when(kind, (what) => this.seen.push(as(what)));
    };
    tell("joined", ({ group, members }) => ({ kind: "joined", group, members }));
    tell("removed", ({ group, code, reason }) => ({ kind: "removed", group, code, reason }));
    tell("expiring", ({ seconds }) => ({ kind: "expiring", seconds }));
    tell("refreshFailed", ({ reason }) => ({ kind: "refresh_failed", reason }));
    tell("goodbye", ({ code, reason, retryAfter }) => ({ kind: "goodbye", code, reason, retry_after_ms: retryAfter }));
    tell("lagged", ({ dropped }) => ({ kind: "lagged", dropped }));
    client.on("E", (_, message) => this.seen.push({ kind: "message", format: message.format, text: message.text() }));
    tell("closed", ({ code }) => ({ kind: "closed", code }));
    tell("reconnected", ({ rejoined, refused, lost }) => {
      this.outage = false;
      return { kind: "reconnected", rejoined, refused, lost };
    });
    // A try that failed is told by this client, and not by every one.
    client.when("disconnected", ({ code, retryIn }) => {
      if (!this.outage) this.seen.push({ kind: "disconnected", code, pause_ms: retryIn });
      this.outage = true;
    });
  }

  private peer(): Session {
    assert.ok(this.session);
    return this.session;
  }

  async step(step: Step): Promise<void> {
    const [what, value] = Object.entries(step)[0] as [string, any];
    switch (what) {
      case "accept": {
        this.unanswered = [];
        this.session = await sessions.next("a connection");
        const hello = await this.session.got.next("Hello");
        if (value !== null) assert.deepEqual(hello.what, { token: value });
        return;
      }
      case "welcome":
        this.peer().say({ Welcome: value === true ? {} : value }, step["behind"]);
        if (this.connecting) {
          this.client = await this.connecting;
          this.connecting = undefined;
          this.watch(this.client);
        }
        return;
      case "say": return this.peer().say(value, step["behind"]);
      case "bytes": return this.peer().sayBytes(value);
      case "datagram": return this.peer().sayUnreliably(value, step["behind"]);
      case "unknown": return assert.equal(this.client?.unknownFrames, value);
      case "closed_with": return assert.equal(await this.peer().closedWith.next("the client's close"), value);
      case "get": {
        const { request, what } = await this.peer().got.next(JSON.stringify(value));
        assert.deepEqual(what, value);
        this.unanswered.push(request);
        return;
      }
      case "ack": return this.peer().say({ Ack: { request: this.unanswered.shift(), count: value } }, step["behind"]);
      case "ack_newest": return this.peer().say({ Ack: { request: this.unanswered.pop(), count: value } });
      case "refuse": return this.peer().say({ Error: { request: this.unanswered.shift(), code: value, detail: "no" } }, step["behind"]);
      case "close": return this.peer().end(value, "");
      case "finish": return this.peer().finish();
      case "break": return this.peer().break(value);
      case "let_go":
        for (const settle of this.letGo.splice(0)) settle();
        return;
      case "call": {
        const client = this.client as Client;
        const call = { join: () => client.join(step["group"]), leave: () => client.leave(step["group"]), count: () => client.count("all"), refresh: () => client.refresh(step["token"]), close: () => client.close() };
        this.calls.push(outcome(call[value as keyof typeof call]()));
        return;
      }
      case "result": {
        assert.deepEqual(await this.calls.shift(), value);
        return;
      }
      case "see": {
        const event = await this.seen.next(JSON.stringify(value));
        for (const [field, wanted] of Object.entries(value)) {
          if (field === "at_least_ms") assert.ok(event["pause_ms"] >= (wanted as number), JSON.stringify(event));
          else assert.deepEqual(event[field], wanted, JSON.stringify(event));
        }
        return;
      }
      default: throw new Error(`there is no step ${what}`);
    }
  }

  async end(): Promise<void> {
    for (const settle of this.letGo.splice(0)) settle();
    const client = this.client ?? (await this.connecting?.catch(() => undefined));
    const closing = client?.close();
    this.session?.end(0, "");
    await closing;
  }
}

Object.assign(globalThis, { WebTransport: Session });

assert.ok(SCENARIOS.length >= 20);
for (const scenario of SCENARIOS) {
  const { name, steps } = scenario;
  test(`scenario: ${name}`, async () => {
    const run = new Run(scenario);
    try {
      for (const step of written(steps)) {
        try {
          await run.step(step);
        } catch (error) {
          throw new Error(`at ${JSON.stringify(step)}: ${String(error)}`, { cause: error });
        }
      }
    } finally {
      await run.end();
    }
  });
}
