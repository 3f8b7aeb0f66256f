/** What this client promises about calls beside the scenarios that every client is held to. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { connect, type Client } from "../src/client.js";
import { FanfareError } from "../src/errors.js";
import { messagePack } from "../src/payload.js";
import { MOST_PENDING } from "../src/requests.js";
import type { Invoked } from "../src/types.js";
import { sessions, type Asked, type Session } from "./session.js";

async function connected(): Promise<{ client: Client; session: Session }> {
  const reconnect = { firstDelay: 1, maxDelay: 20 };
  const connecting = connect({ url: "https://scripted/fanfare", devUser: "alice", reconnect });
  const session = await welcomed();
  return { client: await connecting, session };
}

/** The next connection, which is let in. */
async function welcomed(): Promise<Session> {
  const session = await sessions.next("a connection");
  await session.got.next("Hello");
  session.say({ Welcome: { features: 2 } });
  return session;
}

/** The next connection, live. */
async function reconnected(client: Client): Promise<Session> {
  const session = await welcomed();
  while (!client.connected) await wait(1);
  return session;
}

async function asked(session: Session, what: unknown): Promise<Asked> {
  const request = await session.got.next(JSON.stringify(what));
  assert.deepEqual(request.what, what);
  return request;
}

/** The server gets a call of this method, without arguments unless there are some. */
async function invoked(session: Session, method: string, more: object = {}): Promise<Required<Asked>> {
  const invoke = { method, credit: 0, streams: 0, args: [], ...more };
  return (await asked(session, { invoke })) as Required<Asked>;
}

/** The next frame of the client is a count: there was nothing before it. */
async function nothingElse(client: Client, session: Session): Promise<void> {
  const counting = client.count("all");
  const { request } = await asked(session, "count");
  session.say({ Ack: { request, count: 1 } });
  await counting;
}

const failure = (call: Promise<unknown>) =>
  call.then((value) => assert.fail(`it gave ${JSON.stringify(value)}`), (error: unknown) => error as FanfareError);
const kind = async (call: Promise<unknown>) => (await failure(call)).kind;
const wait = (ms: number) => new Promise((settle) => setTimeout(settle, ms));
const never = new Promise<never>(() => {});

/** Gives these, and says when it is closed. */
class Source implements AsyncIterable<unknown> {
  private close!: () => void;
  readonly closed = new Promise<void>((settle) => (this.close = settle));
  asked = 0;

  constructor(private readonly items: readonly unknown[], private readonly end: Promise<unknown> = never) {}

  async *[Symbol.asyncIterator](): AsyncGenerator<unknown> {
    try {
      for (const item of this.items) {
        this.asked++;
        yield item;
      }
      this.asked++;
      await this.end;
    } finally {
      this.close();
    }
  }
}

test("outcomes come in any order, each to whoever waits for it", async () => {
  const { client, session } = await connected();
  const [one, two, three] = [client.invoke("One"), client.invoke("Two", 2), client.invoke("Three")];
  const requests = [await invoked(session, "One"), await invoked(session, "Two", { args: [2] })];
  const { request } = await invoked(session, "Three");
  session.say({ Completion: { request, outcome: { value: 3 } } });
  session.say({ Completion: { request: requests[1]?.request, outcome: "nothing" } });
  session.say({ Error: { request: requests[0]?.request, code: 4008, detail: "full" } });
  assert.deepEqual(await Promise.all([three, two]), [3, undefined]);
  const error = await failure(one);
  assert.deepEqual([error.kind, error.code, error.detail], ["refused", 4008, "full"]);
  // What comes a second time, or for what there never was, has no effect.
  session.say({ Completion: { request, outcome: { value: 4 } } });
  session.say({ ResultItem: { request, item: 4 } });
  session.say({ StreamCredit: { stream: 99, items: 1 } });
  session.say({ StreamStop: { stream: 99 } });
  await nothingElse(client, session);
  await client.close();
});

test("values come in the format that they have", async () => {
  const { client, session } = await connected();
  const given = async (payload: string) => {
    const call = client.invoke("Any");
    const { request } = await invoked(session, "Any");
    session.say({ Raw: `09${request.toString(16).padStart(2, "0")}01${payload}` });
    return call;
  };
  assert.deepEqual(await given("02077b2261223a317d"), { a: 1 });
  assert.equal(await given("0102c3a9"), "\u00e9");
  assert.deepEqual(await given("000201ff"), Uint8Array.of(1, 255));
  assert.deepEqual(await given("030101"), messagePack(Uint8Array.of(1)));
  assert.deepEqual(await given("fa0101"), { format: 250, bytes: Uint8Array.of(1) });
  for (const broken of ["02017b", "0200", "0102c328"]) assert.equal(await kind(given(broken)), "unreadable", broken);
  await nothingElse(client, session);
  await client.close();
});

test("what a call cannot be made with is not sent", async () => {
  const { client, session } = await connected();
  const ring: unknown[] = [];
  ring.push(ring);
  const source = new Source([1]);
  // The last fits a frame, but no payload.
  for (const args of [[ring], [1n], ["x".repeat(70_000)], ["x".repeat(66_000)]]) {
    assert.equal(await kind(client.call({ method: "Go", args, uploads: [source] })), "argument", typeof args[0]);
    assert.throws(() => client.stream("Go", ...args), FanfareError);
  }
  for (const method of ["", "x".repeat(257), "\ud800"]) assert.equal(await kind(client.invoke(method)), "argument");
  const uploads = new Array<unknown[]>(65_000).fill([]);
  assert.match((await failure(client.call({ method: "Go", uploads }))).message, /the invoke has \d+ bytes in all/);
  assert.equal(source.asked, 0);
  await nothingElse(client, session);
  await client.close();
  assert.equal(await kind(client.invoke("Go")), "not-connected");
});

test("a server that answers no call gets no more than so many", async () => {
  const { client, session } = await connected();
  const calls = Array.from({ length: MOST_PENDING }, () => client.invoke("Go"));
  const more = await failure(client.invoke("Go"));
  assert.deepEqual([more.kind, more.code], ["refused", 4008]);
  const { request } = await invoked(session, "Go");
  session.say({ Completion: { request, outcome: "nothing" } });
  await calls[0];
  calls.push(client.invoke("Go"));
  const ended = Promise.allSettled(calls);
  await client.close();
  const failed = (await ended).filter(({ status }) => status === "rejected");
  assert.equal(failed.length, MOST_PENDING);
});

test("calls go behind what was called before, and one that is cancelled before its turn is not sent", async () => {
  const { client, session } = await connected();
  const counts = Array.from({ length: MOST_PENDING }, () => client.count("all"));
  const requests: number[] = [];
  for (const _ of counts) requests.push((await asked(session, "count")).request);
  const [joining, source, cut] = [client.join("a"), new Source([1]), new AbortController()];
  const call = client.invoke("One");
  const cancelled = client.call({ method: "Cut", uploads: [source], signal: cut.signal });
  const other = client.stream("Up");
  cut.abort();
  assert.equal(await kind(cancelled), "aborted");
  await wait(20);
  assert.equal(session.got.left, 0, "it overtook the join");
  session.say({ Ack: { request: requests[0], count: 1 } });
  const { request } = await asked(session, { join: "a" });
  const one = await invoked(session, "One");
  await invoked(session, "Up", { credit: 32 });
  session.say({ Ack: { request, count: 1 } });
  session.say({ Completion: { request: one.request, outcome: { value: 1 } } });
  assert.deepEqual(await Promise.all([joining, call]), [1, 1]);
  assert.equal(source.asked, 0);
  await other.return?.();
  await asked(session, "cancel");

  // As many again, and what waits behind them when the connection is lost was not sent.
  counts.push(client.count("all"));
  const late = [client.join("b"), client.invoke("Late")];
  const kinds = Promise.all(late.map(kind));
  const lost = Promise.allSettled(counts);
  session.end(1001, "");
  assert.deepEqual(await kinds, ["not-connected", "not-connected"]);
  await lost;
  await nothingElse(client, await reconnected(client));
  await client.close();
});

test("async iterables among the arguments are uploads, and bytes in them go as they are", async () => {
  const { client, session } = await connected();
  const [left, right] = [new Source([1, 2]), new Source([Uint8Array.of(1, 255), messagePack(Uint8Array.of(7))])];
  const call = client.invoke("Zip", "a", left, { b: 1 }, right);
  const { request, streams } = await invoked(session, "Zip", { streams: 2, args: ["a", { b: 1 }] });
  assert.equal(new Set([request, ...streams]).size, 3);
  assert.deepEqual([left.asked, right.asked], [0, 0]);
  session.say({ StreamCredit: { stream: streams[1], items: 2 } });
  assert.equal((await asked(session, { item: { format: 0, hex: "01ff" } })).request, streams[1]);
  await asked(session, { item: { format: 3, hex: "07" } });
  // Without credit nothing is asked for.
  assert.deepEqual([left.asked, right.asked], [0, 2]);
  session.say({ StreamCredit: { stream: streams[0], items: 1 } });
  assert.equal((await asked(session, { item: 1 })).request, streams[0]);
  session.say({ Completion: { request, outcome: { value: "z" } } });
  assert.equal(await call, "z");
  await Promise.all([left.closed, right.closed]);
  await nothingElse(client, session);
  await client.close();
});

test("an upload that cannot go on says why, and the call goes on", async () => {
  const { client, session } = await connected();
  const broken = new Error("the sensor is gone");
  const long = "x".repeat(65_535);
  const uploads: [AsyncIterable<unknown> | Iterable<unknown>, number, RegExp][] = [
    [new Source([], Promise.reject(broken)), 2203, /^the sensor is gone$/],
    [[undefined], 2203, /cannot be written as JSON/],
    [[1n], 2203, /cannot be written as JSON/],
    [[long], 4006, /an item has 65537 bytes; the server takes 65536/],
    [{ [Symbol.iterator]: () => { throw broken; } }, 2203, /^the sensor is gone$/],
    [new Source([], Promise.reject(new Error(long))), 2203, /^x{1000}$/],
  ];
  for (const [upload, code, says] of uploads) {
    const call = client.call({ method: "Sum", uploads: [upload] });
    const { request, streams } = await invoked(session, "Sum", { streams: 1 });
    session.say({ StreamCredit: { stream: streams[0], items: 5 } });
    const { what } = await session.got.next("the end of the stream");
    const { failed, detail } = (what as { end: { failed: number; detail: string } }).end;
    assert.equal(failed, code);
    assert.match(detail, says);
    session.say({ StreamStop: { stream: streams[0] } });
    session.say({ Completion: { request, outcome: { value: 1 } } });
    assert.equal(await call, 1);
  }
  await nothingElse(client, session);
  await client.close();
});

test("the source of an upload is closed, however that ends", async () => {
  const { client, session } = await connected();
  const cut = new AbortController();
  const begin = async (signal?: AbortSignal) => {
    const source = new Source([1, 2, 3]);
    const call = client.call({ method: "Sum", uploads: [source], ...(signal && { signal }) });
    const { request, streams } = await invoked(session, "Sum", { streams: 1 });
    session.say({ StreamCredit: { stream: streams[0], items: 1 } });
    await asked(session, { item: 1 });
    return { source, call, request, stream: streams[0] };
  };
  const stopped = await begin();
  session.say({ StreamStop: { stream: stopped.stream } });
  await stopped.source.closed;
  session.say({ Completion: { request: stopped.request, outcome: "nothing" } });
  await stopped.call;
  const refused = await begin();
  session.say({ Error: { request: refused.request, code: 4008, detail: "full" } });
  await refused.source.closed;
  assert.equal(await kind(refused.call), "refused");
  const cancelled = await begin(cut.signal);
  cut.abort();
  await cancelled.source.closed;
  assert.equal(await kind(cancelled.call), "aborted");
  await asked(session, "cancel");
  const lost = await begin();
  session.end(1001, "");
  await lost.source.closed;
  assert.equal(await kind(lost.call), "disconnected");
  await nothingElse(client, await reconnected(client));
  await client.close();
});

test("a source whose next item comes too late has nothing sent of it", async () => {
  const { client, session } = await connected();
  let give: (item: unknown) => void = () => {};
  const item = new Promise<unknown>((settle) => (give = settle));
  async function* slow() {
    yield await item;
  }
  const call = client.invoke("Sum", slow());
  const { request, streams } = await invoked(session, "Sum", { streams: 1 });
  session.say({ StreamCredit: { stream: streams[0], items: 5 } });
  session.say({ Completion: { request, outcome: { value: 0 } } });
  assert.equal(await call, 0);
  give(1);
  await wait(0);
  await nothingElse(client, session);
  await client.close();
});

test("a signal cancels a call before it is sent, while it goes on, and not when it has ended", async () => {
  const { client, session } = await connected();
  const [early, late, after] = [new AbortController(), new AbortController(), new AbortController()];
  early.abort(new Error("changed my mind"));
  const refused = await failure(client.call({ method: "Go", signal: early.signal }));
  assert.deepEqual([refused.kind, refused.cause], ["aborted", early.signal.reason]);
  assert.throws(() => client.streamCall({ method: "Go", signal: early.signal }), FanfareError);

  const call = client.call({ method: "Go", signal: late.signal });
  const { request } = await invoked(session, "Go");
  late.abort(new Error("enough"));
  assert.equal((await failure(call)).cause, late.signal.reason);
  assert.equal((await asked(session, "cancel")).request, request);
  // The server may have refused it meanwhile: that is not told as a refusal of something else.
  client.when("refused", () => assert.fail("it was told"));
  session.say({ Error: { request, code: 4008, detail: "full" } });

  const done = client.call({ method: "Go", signal: after.signal });
  const other = await invoked(session, "Go");
  session.say({ Completion: { request: other.request, outcome: { value: 1 } } });
  assert.equal(await done, 1);
  after.abort();
  await nothingElse(client, session);
  await client.close();
});

test("a loop that is left, and a signal, cancel the stream, and what waits is gone", async () => {
  const { client, session } = await connected();
  const seen: unknown[] = [];
  const reading = (async () => {
    for await (const item of client.stream<number>("Up", 3)) {
      seen.push(item);
      if (seen.length === 2) break;
    }
  })();
  const { request } = await invoked(session, "Up", { credit: 32, args: [3] });
  for (const item of [1, 2, 3]) session.say({ ResultItem: { request, item } });
  await reading;
  assert.deepEqual(seen, [1, 2]);
  assert.equal((await asked(session, "cancel")).request, request);

  const cut = new AbortController();
  const items = client.streamCall<number>({ method: "Up", signal: cut.signal });
  const next = await invoked(session, "Up", { credit: 32 });
  // Asked for at once: in their order.
  const both = Promise.all([items.next(), items.next()]);
  for (const item of [1, 2, 3]) session.say({ ResultItem: { request: next.request, item } });
  assert.deepEqual((await both).map(({ value }) => value as number), [1, 2]);
  // The third has come, too.
  await nothingElse(client, session);
  cut.abort();
  assert.equal(await kind(items.next()), "aborted");
  assert.deepEqual(await items.next(), { value: undefined, done: true });
  assert.equal((await asked(session, "cancel")).request, next.request);
  await nothingElse(client, session);
  await client.close();
});

test("an item that cannot be read ends its loop, and the method is told", async () => {
  const { client, session } = await connected();
  const items = client.stream("Up");
  const { request } = await invoked(session, "Up", { credit: 32 });
  session.say({ ResultItem: { request, item: 1 } });
  session.say({ Raw: `0a${request.toString(16).padStart(2, "0")}02017b` });
  session.say({ ResultItem: { request, item: 3 } });
  assert.deepEqual(await items.next(), { value: 1, done: false });
  assert.equal(await kind(items.next()), "unreadable");
  assert.equal((await items.next()).done, true);
  await asked(session, "cancel");
  await nothingElse(client, session);
  await client.close();
});

test("an item of a call that asked for a value is one without credit", async () => {
  const { client, session } = await connected();
  const call = client.invoke("One");
  const { request } = await invoked(session, "One");
  const closed = new Promise<{ code: number | undefined }>((settle) => client.when("closed", settle));
  session.say({ ResultItem: { request, item: 1 } });
  assert.equal(await session.closedWith.next("the client's close"), 4009);
  assert.equal(await kind(call), "disconnected");
  assert.equal((await closed).code, 4009);
});

test("a handler of messages may wait for a call, and for items", async () => {
  const { client, session } = await connected();
  let count = 0;
  let go: () => void = () => {};
  const gate = new Promise<void>((settle) => (go = settle));
  const first = new Promise<unknown[]>((settle) => {
    client.on("E", async () => {
      if (count++ > 0) return;
      await gate;
      const items: unknown[] = [await client.invoke("One")];
      for await (const item of client.stream("Up")) items.push(item);
      settle(items);
    });
  });
  const messages = (many: number) => {
    for (let at = 0; at < many; at++) session.say({ Message: { format: 1, payload: "6869" } });
  };
  // Reading has stopped when the handler begins to wait.
  messages(300);
  await wait(20);
  go();
  const one = await invoked(session, "One");
  messages(300);
  session.say({ Completion: { request: one.request, outcome: { value: 1 } } });
  const { request } = await invoked(session, "Up", { credit: 32 });
  messages(300);
  session.say({ ResultItem: { request, item: 2 } });
  session.say({ Completion: { request, outcome: "nothing" } });
  assert.deepEqual(await first, [1, 2]);
  while (count < 900) await wait(1);
  await client.close();
});

test("what waits for handlers is bounded, and somewhat less so while a call is waited for", async () => {
  const { client, session } = await connected();
  client.onInvoke("Echo", (value: unknown) => value);
  let gate: Promise<void> | undefined;
  client.on("E", () => gate);
  const done = client.invoke("Done");
  const { request } = await invoked(session, "Done");
  session.say({ Completion: { request, outcome: "nothing" } });
  await done;
  let call = 0;
  /** The client reads, or does not, what comes behind so many messages that a handler does not get done with. */
  const behind = async (messages: number, isRead: boolean): Promise<void> => {
    let go: () => void = () => {};
    gate = new Promise<void>((settle) => (go = settle));
    for (let at = 0; at < messages; at++) session.say({ Message: { format: 1, payload: "6869" } });
    session.say({ ClientInvoke: { call: call++, method: "Echo", arguments: [1] } });
    let wasRead = false;
    const answer = asked(session, { answer: { value: 1 } }).then(() => (wasRead = true));
    await (isRead ? answer : wait(200));
    assert.equal(wasRead, isRead, `${messages} messages`);
    gate = undefined;
    go();
    await answer;
  };
  await behind(300, false);
  const never = client.invoke("Never");
  await invoked(session, "Never");
  await behind(300, true);
  await behind(5_000, false);
  const ended = kind(never);
  await client.close();
  assert.equal(await ended, "disconnected");
});

test("handlers get their arguments in every format, and their answers go in the format that they have", async () => {
  const { client, session } = await connected();
  let call = 0;
  let got: unknown[] = [];
  const ask = async (payload: string, value: unknown, answer: unknown) => {
    const ending = client.onInvoke("Any", (...args: unknown[]) => {
      got = args;
      return value;
    });
    session.say({ Raw: `0b${(call++).toString(16).padStart(2, "0")}03416e79${payload}` });
    await asked(session, { answer });
    ending();
    return got;
  };
  assert.deepEqual(await ask("02055b312c325d", undefined, "nothing"), [1, 2]);
  assert.deepEqual(await ask("02025b5d", Promise.resolve(null), { value: null }), []);
  assert.deepEqual(await ask("0102c3a9", "x", { value: "x" }), ["\u00e9"]);
  const bytes = Uint8Array.of(1, 255);
  assert.deepEqual(await ask("000201ff", bytes, { value: { format: 0, hex: "01ff" } }), [bytes]);
  assert.deepEqual(await ask("0000", messagePack(bytes), { value: { format: 3, hex: "01ff" } }), []);
  assert.deepEqual(await ask("030190", 1, { value: 1 }), [messagePack(Uint8Array.of(0x90))]);
  const detail = "the answer has 65537 bytes; the server takes 65536";
  await ask("02025b5d", "x".repeat(65_535), { failed: 4006, detail });
  for (const [payload, value, code] of [["02025b5d", 1n, 2203], ["02017b", 1, 2202], ["0102c328", 1, 2202]] as const) {
    client.onInvoke("Any", () => value);
    session.say({ Raw: `0b${(call++).toString(16).padStart(2, "0")}03416e79${payload}` });
    const { what } = await session.got.next("the answer");
    assert.equal((what as { answer: { failed: number } }).answer.failed, code);
  }
  await client.close();
});

test("a handler takes the place of the one before it, and one that is taken away takes no other with it", async () => {
  const { client, session } = await connected();
  const first = client.onInvoke("Who", () => 1);
  const second = client.onInvoke("Who", () => 2);
  first();
  session.say({ ClientInvoke: { call: 0, method: "Who", arguments: [] } });
  await asked(session, { answer: { value: 2 } });
  second();
  second();
  session.say({ ClientInvoke: { call: 1, method: "Who", arguments: [] } });
  await asked(session, { answer: { failed: 2201, detail: "There is no such method." } });
  await client.close();
});

test("a handler hears when nobody waits for its answer, and that is not sent", async () => {
  const { client, session } = await connected();
  const reasons: unknown[] = [];
  client.onInvoke("Wait", function (this: Invoked) {
    assert.equal(this.method, "Wait");
    return new Promise((settle) => {
      this.signal.addEventListener("abort", () => {
        reasons.push((this.signal.reason as FanfareError).kind);
        settle("too late");
      });
    });
  });
  session.say({ ClientInvoke: { call: 0, method: "Wait", arguments: [] } });
  session.say({ ClientInvoke: { call: 1, method: "Wait", arguments: [] } });
  session.say({ ClientCancel: { call: 0 } });
  await nothingElse(client, session);
  assert.deepEqual(reasons, ["aborted"]);
  await nothingElse(client, session);
  session.end(1001, "");
  const next = await reconnected(client);
  assert.deepEqual(reasons, ["aborted", "disconnected"]);
  await nothingElse(client, next);
  await client.close();
});

test("no more handlers run than so many, and one that throws at once is an answer", async () => {
  const { client, session } = await connected();
  client.onInvoke("Wait", () => never);
  client.onInvoke("Throw", () => {
    throw new Error("no");
  });
  session.say({ ClientInvoke: { call: 0, method: "Throw", arguments: [] } });
  await asked(session, { answer: { failed: 2203, detail: "no" } });
  for (let call = 1; call <= 256; call++) {
    session.say({ ClientInvoke: { call, method: "Wait", arguments: [] } });
    // That nobody waits for it does not end it.
    session.say({ ClientCancel: { call } });
  }
  session.say({ ClientInvoke: { call: 257, method: "Throw", arguments: [] } });
  const { request, what } = await session.got.next("the refusal");
  assert.equal(request, 257);
  assert.equal((what as { answer: { failed: number } }).answer.failed, 4008);
  await client.close();
});
