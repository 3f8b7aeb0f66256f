/** Which way a connection goes, and a session over a WebSocket, against scripted ends. */

import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";

import { FanfareError } from "../src/errors.js";
import { Race, type Address } from "../src/race.js";
import type { Session } from "../src/session.js";
import { endOf, SocketSession, SUBPROTOCOL, textOf } from "../src/socket.js";

/** A WebSocket whose other end is the test. */
class ScriptedSocket extends EventTarget {
  static readonly OPEN = 1;
  static made: ScriptedSocket[] = [];
  readyState = 0;
  bufferedAmount = 0;
  binaryType = "blob";
  readonly sent: Uint8Array[] = [];
  closedWith: [number | undefined, string | undefined] | undefined;

  constructor(readonly url: string, readonly protocols: string[]) {
    super();
    ScriptedSocket.made.push(this);
  }

  send(data: Uint8Array): void {
    assert.equal(this.readyState, ScriptedSocket.OPEN, "sent on a WebSocket that is not open");
    this.sent.push(Uint8Array.from(data));
  }

  close(code?: number, reason?: string): void {
    this.closedWith ??= [code, reason];
    this.readyState = 2;
  }

  open(): void {
    this.readyState = ScriptedSocket.OPEN;
    this.dispatchEvent(new Event("open"));
  }

  say(...bytes: number[]): void {
    this.dispatchEvent(Object.assign(new Event("message"), { data: Uint8Array.from(bytes).buffer }));
  }

  end(code: number, reason: string): void {
    this.readyState = 3;
    this.dispatchEvent(Object.assign(new Event("close"), { code, reason }));
  }
}

/** A WebTransport that does what the test says. */
class ScriptedTransport {
  static made: ScriptedTransport[] = [];
  isClosed = false;
  answer: () => void = () => {};
  fail: () => void = () => {};
  readonly ready = new Promise<void>((settle, reject) => {
    this.answer = settle;
    this.fail = () => reject(new Error("refused"));
  });
  readonly closed = new Promise<never>(() => {});

  constructor(readonly url: string) {
    ScriptedTransport.made.push(this);
  }

  close(): void {
    this.isClosed = true;
  }
}

const address: Address = {
  url: "https://example.org/fanfare",
  hashes: [],
  socketUrl: "wss://example.org/fanfare",
  transports: ["webtransport", "websocket"],
  socketAfter: 20,
};
const never = new AbortController().signal;
const globals = globalThis as { WebTransport?: unknown; WebSocket?: unknown };
const before = { ...{ WebTransport: globals.WebTransport, WebSocket: globals.WebSocket } };

beforeEach(() => {
  ScriptedSocket.made = [];
  ScriptedTransport.made = [];
  globals.WebSocket = ScriptedSocket;
  globals.WebTransport = ScriptedTransport;
});

afterEach(() => {
  globals.WebSocket = before.WebSocket;
  globals.WebTransport = before.WebTransport;
});

/** What has been made, once there is one. */
async function first<T>(made: () => T[]): Promise<T> {
  for (;;) {
    const [one] = made();
    if (one) return one;
    await new Promise((settle) => setTimeout(settle, 1));
  }
}

test("where WebTransport answers in time there is no WebSocket", async () => {
  const opening = new Race(address).open(never);
  ScriptedTransport.made[0]?.answer();
  assert.equal((await opening).transport, "webtransport");
  await new Promise((settle) => setTimeout(settle, 60));
  assert.equal(ScriptedSocket.made.length, 0);
  assert.equal(ScriptedTransport.made[0]?.isClosed, false);
});

test("the WebSocket joins after a moment, whoever is first stays, and then it goes alone", async () => {
  const race = new Race(address);
  const opening = race.open(never);
  const socket = await first(() => ScriptedSocket.made);
  assert.deepEqual([socket.url, socket.protocols], [address.socketUrl, [SUBPROTOCOL]]);
  assert.equal(ScriptedTransport.made[0]?.isClosed, false, "it may still answer");
  socket.open();
  assert.equal((await opening).transport, "websocket");
  assert.ok(ScriptedTransport.made[0]?.isClosed);
  race.remember(true);
  const again = race.open(never);
  ScriptedSocket.made.at(-1)?.open();
  assert.equal((await again).transport, "websocket");
  assert.equal(ScriptedTransport.made.length, 1, "it went alone");
});

test("a WebTransport that answers behind the beginning of the WebSocket may be first all the same", async () => {
  const opening = new Race(address).open(never);
  const socket = await first(() => ScriptedSocket.made);
  ScriptedTransport.made[0]?.answer();
  assert.equal((await opening).transport, "webtransport");
  assert.ok(socket.closedWith, "the other is closed");
  assert.deepEqual(socket.sent, [], "nothing is sent on it");
});

test("where WebTransport fails the WebSocket begins at once, and where it is missing it goes alone", async () => {
  const opening = new Race({ ...address, socketAfter: 60_000 }).open(never);
  ScriptedTransport.made[0]?.fail();
  (await first(() => ScriptedSocket.made)).open();
  assert.equal((await opening).transport, "websocket");
  globals.WebTransport = undefined;
  ScriptedSocket.made = [];
  const alone = new Race({ ...address, socketAfter: 60_000 }).open(never);
  ScriptedSocket.made[0]?.open();
  assert.equal((await alone).transport, "websocket");
});

test("where both fail the error names both, and WebTransport is tried again", async () => {
  const race = new Race(address);
  const helped = race.open(never);
  (await first(() => ScriptedSocket.made)).open();
  await helped;
  race.remember(true);
  const alone = race.open(never);
  ScriptedSocket.made.at(-1)?.end(1006, "");
  const error = await alone.then(() => assert.fail("it is open"), (reason: unknown) => reason);
  assert.ok(error instanceof FanfareError && error.kind === "unreachable", String(error));
  const both = race.open(never);
  assert.equal(ScriptedTransport.made.length, 2);
  ScriptedTransport.made[1]?.fail();
  (await first(() => ScriptedSocket.made.slice(2))).end(1006, "");
  await assert.rejects(both, (reason: Error) => {
    assert.match(reason.message, /https:\/\/example\.org\/fanfare or wss:\/\/example\.org\/fanfare/u);
    return true;
  });
});

test("one that hangs, or is opened and not welcomed, does not go alone at the next try", async () => {
  const race = new Race(address);
  const helped = race.open(never);
  (await first(() => ScriptedSocket.made)).open();
  await helped;
  race.remember(true);
  const aborting = new AbortController();
  const hanging = race.open(aborting.signal);
  assert.equal(ScriptedTransport.made.length, 1, "it goes alone");
  aborting.abort(new Error("too late"));
  await assert.rejects(hanging, /too late/u);
  const again = race.open(never);
  assert.equal(ScriptedTransport.made.length, 2);
  (await first(() => ScriptedSocket.made.slice(2))).open();
  assert.equal((await again).transport, "websocket");
  race.remember(false);
  const last = race.open(never);
  assert.equal(ScriptedTransport.made.length, 3);
  ScriptedTransport.made[2]?.answer();
  await last;
});

test("one that is not allowed is not tried, and with none that there is it says so", async () => {
  const opening = new Race({ ...address, transports: ["webtransport"] }).open(never);
  ScriptedTransport.made[0]?.fail();
  await assert.rejects(opening, { kind: "unreachable" });
  assert.equal(ScriptedSocket.made.length, 0);
  globals.WebTransport = undefined;
  await assert.rejects(new Race({ ...address, transports: ["webtransport"] }).open(never), { kind: "unsupported" });
});

test("aborting closes what has begun, and nothing begins later", async () => {
  const aborting = new AbortController();
  const opening = new Race(address).open(aborting.signal);
  aborting.abort(new Error("enough"));
  await assert.rejects(opening, /enough/u);
  assert.ok(ScriptedTransport.made[0]?.isClosed);
  await new Promise((settle) => setTimeout(settle, 60));
  assert.equal(ScriptedSocket.made.length, 0);
});

/** A session whose WebSocket is open. */
async function open(): Promise<[Session, ScriptedSocket]> {
  const session = new SocketSession(address.socketUrl);
  session.closed.catch(() => {});
  const socket = ScriptedSocket.made.at(-1) as ScriptedSocket;
  socket.open();
  await session.ready;
  return [session, socket];
}

test("messages are the stream, datagrams, and the end; what is not known is passed over", async () => {
  const [session, socket] = await open();
  const { readable, writable } = await session.createBidirectionalStream();
  const [stream, datagrams] = [readable.getReader(), session.datagrams.readable.getReader()];
  socket.say(0, 1, 2);
  socket.say(0);
  socket.say(77, 9);
  socket.say();
  socket.say(1, 3);
  socket.say(0, 4);
  socket.say(2);
  assert.deepEqual((await stream.read()).value, Uint8Array.of(1, 2));
  assert.deepEqual((await stream.read()).value, Uint8Array.of(4));
  assert.equal((await stream.read()).done, true);
  assert.deepEqual((await datagrams.read()).value, Uint8Array.of(3));
  socket.say(0, 9);
  assert.equal(socket.closedWith, undefined, "what comes behind the end is passed over");
  await datagrams.cancel();
  const writer = writable.getWriter();
  await writer.write(new Uint8Array(70_000));
  assert.deepEqual(socket.sent.map((bytes) => [bytes[0], bytes.length]), [[0, 65_536], [0, 70_000 - 65_535 + 1]]);
  await writer.close();
  assert.deepEqual(socket.sent.at(-1), Uint8Array.of(2));
});

test("a message of text is a breach of the protocol, as it is to the server", async () => {
  const [session, socket] = await open();
  const stream = (await session.createBidirectionalStream()).readable.getReader();
  socket.say(0, 1);
  assert.deepEqual((await stream.read()).value, Uint8Array.of(1));
  socket.dispatchEvent(Object.assign(new Event("message"), { data: "text" }));
  await assert.rejects(stream.read(), { kind: "protocol", code: 2008 });
});

test("a datagram that would wait is dropped, and so is one that is not read", async () => {
  const [session, socket] = await open();
  const writer = session.datagrams.createWritable?.().getWriter();
  await writer?.write(Uint8Array.of(1));
  socket.bufferedAmount = 1 << 20;
  await writer?.write(Uint8Array.of(2));
  assert.deepEqual(socket.sent, [Uint8Array.of(1, 1)]);
  for (let at = 0; at < 1_000; at++) socket.say(1, 5);
  socket.end(1_000, "0 ");
});

test("who writes waits while the browser has much to send", async () => {
  const [session, socket] = await open();
  const writer = (await session.createBidirectionalStream()).writable.getWriter();
  socket.bufferedAmount = 1 << 20;
  let isWritten = false;
  const writing = writer.write(Uint8Array.of(1)).then(() => (isWritten = true));
  await new Promise((settle) => setTimeout(settle, 40));
  assert.equal(isWritten, false);
  socket.bufferedAmount = 0;
  await writing;
  assert.equal(socket.sent.length, 1);
});

test("a page that does not read has a bound", async () => {
  const [session, socket] = await open();
  const stream = (await session.createBidirectionalStream()).readable.getReader();
  const chunk = new Array<number>(60_000).fill(7);
  chunk[0] = 0;
  for (let at = 0; at < 400 && !socket.closedWith; at++) socket.say(...chunk);
  assert.ok(socket.closedWith, "it was not closed");
  await assert.rejects(session.closed, /wait for the page/u);
  await assert.rejects((async () => { for (;;) await stream.read(); })(), /wait for the page/u);
});

test("the end says the server's code, or that the connection was lost", async () => {
  for (const [code, reason, end] of [
    [4_000, "3103 enough", { closeCode: 3103, reason: "enough" }],
    [4_000, "3103", { closeCode: 3103, reason: "" }],
    [1_000, "0 ", { closeCode: 0, reason: "" }],
    // By somebody in between.
    [1_000, "bye", undefined],
    [1_000, "", undefined],
    [4_000, "70000 too many", undefined],
    [1_006, "", undefined],
    [1_011, "3103 not ours", undefined],
  ] as const) {
    assert.deepEqual(endOf({ code, reason }, true), end);
    if (end?.closeCode === 0) assert.equal(endOf({ code, reason }, false), undefined, "its stream has not ended");
    const [session, socket] = await open();
    const stream = (await session.createBidirectionalStream()).readable.getReader();
    if (end?.closeCode === 0) socket.say(2);
    const read = stream.read();
    socket.end(code, reason);
    if (end?.closeCode === 0) assert.equal((await read).done, true);
    else await assert.rejects(read);
    if (end) assert.deepEqual(await session.closed, end);
    else await assert.rejects(session.closed);
  }
});

test("closing says why, in as many bytes as there is room for, and is over at once", async () => {
  const [session, socket] = await open();
  session.close({ closeCode: 2001, reason: "\u{1F600}".repeat(100) });
  assert.deepEqual(await session.closed, { closeCode: 2001, reason: "\u{1F600}".repeat(100) });
  const [code, text] = socket.closedWith ?? [];
  assert.equal(code, 4_000);
  assert.equal(text, `2001 ${"\u{1F600}".repeat(29)}`);
  assert.equal(textOf({}), "0 ");
  session.close();
});
