/** What this client promises its application beside the scenarios that every client is held to. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

import { connect, type Client } from "../src/client.js";
import { FanfareError } from "../src/errors.js";
import { MOST_PENDING } from "../src/requests.js";
import type { ConnectOptions } from "../src/types.js";
import { sessions, type Asked, type Session } from "./session.js";

async function connected(options: Partial<ConnectOptions> = {}): Promise<{ client: Client; session: Session }> {
  const reconnect = { firstDelay: 1, maxDelay: 20 };
  const connecting = connect({ url: "https://scripted/fanfare", devUser: "alice", reconnect, ...options });
  const session = await welcomed();
  return { client: await connecting, session };
}

/** The next connection, which is let in. */
async function welcomed(): Promise<Session> {
  const session = await sessions.next("a connection");
  await session.got.next("Hello");
  session.say({ Welcome: {} });
  return session;
}

async function asked(session: Session, what: unknown): Promise<Asked> {
  const request = await session.got.next(JSON.stringify(what));
  assert.deepEqual(request.what, what);
  return request;
}

/** Joins groups, and answers the client's requests for it. */
async function joined(client: Client, session: Session, ...groups: string[]): Promise<void> {
  for (const group of groups) {
    const joining = client.join(group);
    const { request } = await asked(session, { join: group });
    session.say({ Joined: { group, members: 1 } });
    session.say({ Ack: { request, count: 1 } });
    await joining;
  }
}

const happened = <K extends "disconnected" | "reconnected" | "closed">(client: Client, kind: K) =>
  new Promise<unknown>((settle) => client.when(kind, settle));

const refusal = (call: Promise<unknown>) => call.then(() => "done", (error: FanfareError) => error.kind);
const wait = (ms: number) => new Promise((settle) => setTimeout(settle, ms));

test("each answer may take as long as an answer may while groups are joined again", async () => {
  const { client, session } = await connected({ requestTimeout: 500 });
  const groups = ["a", "b", "c", "d"];
  await joined(client, session, ...groups);
  const again = happened(client, "reconnected");
  session.end(1001, "");
  const next = await welcomed();
  const requests: number[] = [];
  for (const group of groups) requests.push((await asked(next, { join: group })).request);
  // All in all longer than one answer may take.
  for (const request of requests) {
    await wait(200);
    next.say({ Ack: { request, count: 1 } });
  }
  assert.deepEqual(((await again) as { rejoined: string[] }).rejoined, groups);
  await client.close();
});

test("a group that is left while it is joined again is left, in whatever moment that is", async () => {
  const { client, session } = await connected();
  let before = session;
  // Each moment between the last answer and what follows it.
  for (let moment = 0; moment < 60; moment++) {
    if (moment === 0) await joined(client, before, "a");
    before.end(1001, "");
    const next = await welcomed();
    const { request } = await asked(next, { join: "a" });
    next.say({ Ack: { request, count: 1 } });
    for (let turn = 0; turn < moment; turn++) await Promise.resolve();
    const leaving = refusal(client.leave("a"));
    const { request: left } = await asked(next, { leave: "a" });
    next.say({ Ack: { request: left, count: 0 } });
    await leaving;
    while (!client.connected) await wait(1);
    await joined(client, next, "a");
    before = next;
  }
  await client.close();
});

test("a server that takes nothing any more from the stream has lost the connection", async () => {
  const { client, session } = await connected();
  const lost = happened(client, "disconnected");
  session.stop(0);
  assert.equal(await session.closedWith.next("the client's close"), 2008);
  assert.equal(((await lost) as { code?: number }).code, undefined);
  await welcomed();
  await client.close();
});

test("after a close was asked for nothing is sent, and that is said", async () => {
  const { client, session } = await connected();
  session.answersFinish = false;
  const [one, two] = [client.close(), client.close()];
  assert.equal(client.connected, false);
  assert.equal(await refusal(client.sendToAll("E", "late")), "not-connected");
  assert.equal(await refusal(client.join("late")), "not-connected");
  await wait(50);
  assert.equal(session.isOver, false, "the second close cut the first one short");
  session.end(0, "");
  await Promise.all([one, two]);
});

/** As many calls as may be without an answer; with what the server got of them. */
async function full(client: Client, session: Session): Promise<{ calls: Promise<string>[]; requests: number[] }> {
  const calls = Array.from({ length: MOST_PENDING }, () => refusal(client.count("all")));
  const requests: number[] = [];
  for (const _ of calls) requests.push((await asked(session, "count")).request);
  return { calls, requests };
}

/** Nothing has come that was not looked at, and nothing comes. */
async function nothingMore(session: Session, why: string): Promise<void> {
  await wait(50);
  assert.equal(session.got.left, 0, why);
}

test("at most 1,024 requests have no answer, and what is called behind them is sent in its turn", async () => {
  assert.equal(MOST_PENDING, 1_024, "as many as in the Rust client");
  const { client, session } = await connected();
  const { calls, requests } = await full(client, session);
  const one = refusal(client.count("all"));
  const join = refusal(client.join("a"));
  const send = refusal(client.sendToGroup("a", "behind the join", "text"));
  await nothingMore(session, "one more than may be without an answer was sent");
  session.say({ Ack: { request: requests.shift(), count: 0 } });
  requests.push((await asked(session, "count")).request);
  await nothingMore(session, "the join has no place yet, and the send waits behind it");
  session.say({ Error: { request: requests.shift(), code: 3102, detail: "no" } });
  requests.push((await asked(session, { join: "a" })).request);
  await asked(session, { send: "behind the join" });
  assert.equal(await send, "done");
  for (const request of requests) session.say({ Ack: { request, count: 1 } });
  assert.deepEqual(await Promise.all([one, join]), ["done", "done"]);
  assert.deepEqual(await Promise.all(calls), ["done", "refused", ...calls.slice(2).map(() => "done")]);
  // Then there is room for as many again.
  const again = await full(client, session);
  for (const request of again.requests) session.say({ Ack: { request, count: 1 } });
  await Promise.all(again.calls);
  await client.close();
});

test("a request that is not sent in time says so, and one that was given up keeps its place", async () => {
  const { client, session } = await connected({ requestTimeout: 400 });
  const { calls, requests } = await full(client, session);
  const message = (call: Promise<unknown>) => call.then(() => "done", (error: FanfareError) => error.message);
  const [late, send] = [message(client.count("all")), refusal(client.sendToAll("E", "text"))];
  assert.deepEqual(new Set(await Promise.all(calls)), new Set(["timeout"]));
  assert.equal(await late, "no answer within 400 ms; the request was not sent, as 1024 before it have no answer");
  // What waited behind it waits no longer, and is no request.
  await asked(session, { send: "E" });
  assert.equal(await send, "done");
  assert.match(await message(client.count("all")), /the request was not sent/, "the server still owes the answers");
  session.say({ Ack: { request: requests[0], count: 1 } });
  const count = message(client.count("all"));
  const { request } = await asked(session, "count");
  session.say({ Ack: { request, count: 1 } });
  assert.equal(await count, "done");
  await client.close();
});

test("what waits to be sent when the connection is lost was not sent, and a leave counts all the same", async () => {
  const { client, session } = await connected();
  await joined(client, session, "a", "b");
  const { calls } = await full(client, session);
  const waiting = [client.count("all"), client.leave("a"), client.join("c"), client.sendToAll("E", "x")].map(refusal);
  const again = happened(client, "reconnected");
  session.end(1001, "");
  assert.deepEqual(new Set(await Promise.all(calls)), new Set(["disconnected"]));
  assert.deepEqual(new Set(await Promise.all(waiting)), new Set(["not-connected"]));
  const next = await welcomed();
  const { request } = await asked(next, { join: "b" });
  next.say({ Ack: { request, count: 1 } });
  assert.deepEqual(((await again) as { rejoined: string[] }).rejoined, ["b"]);
  // The places are the connection's.
  const count = refusal(client.count("all"));
  next.say({ Ack: { request: (await asked(next, "count")).request, count: 1 } });
  assert.equal(await count, "done");
  await client.close();
});

test("what waits to be sent when the client is closed is not sent", async () => {
  const { client, session } = await connected();
  session.answersFinish = false;
  const { requests } = await full(client, session);
  const waiting = [client.count("all"), client.sendToAll("E", "text")].map(refusal);
  const closing = client.close();
  assert.deepEqual(await Promise.all(waiting), ["not-connected", "not-connected"]);
  session.say({ Ack: { request: requests[0], count: 1 } });
  await nothingMore(session, "there is a place again, and the client is closed");
  session.end(0, "");
  await closing;
});

test("a frame that would cost the connection is not sent", async () => {
  const { client, session } = await connected();
  const targets = Array.from({ length: 256 }, (_, number) => ({ user: `${number}`.padEnd(256, "x") }));
  const error = await client.send(targets, "E", new Uint8Array(65_536)).catch((error: unknown) => error);
  assert.ok(error instanceof FanfareError && error.kind === "argument", String(error));
  assert.match(error.message, /the send has 13\d\d\d\d bytes in all; the server takes 67584/);
  assert.equal(await refusal(client.refresh("x".repeat(70_000))), "argument");
  session.say({ Ack: { request: 99, count: 1 } });
  await client.close();
});

/** A message from the server to all with the event `E`, an empty text. */
const MESSAGE = "0700000003010301450100";

/**
 * How much memory is in use, once what is not is gone.
 *
 * The test runner has a map of all promises, and takes one out in the turn after it was collected: with one collection
 * alone, the map of half a million promises was taken for what the client keeps, or not, as it happened.
 */
async function used(): Promise<number> {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  for (let turn = 0; turn < 3; turn++) {
    collect();
    await new Promise((settle) => setImmediate(settle));
  }
  collect();
  return process.memoryUsage().heapUsed;
}

test("nothing is kept of messages that were handled, whether reading waited for that or not", async () => {
  const { client, session } = await connected();
  let [seen, wanted, isSlow] = [0, 0, false];
  let done: () => void = () => {};
  client.on("E", async () => {
    // Slower than messages are read.
    for (let turn = 0; isSlow && turn < 50; turn++) await undefined;
    if (++seen === wanted) done();
  });
  const round = async () => {
    for (let at = 0; at < 10; at++) {
      const all = new Promise<void>((settle) => (done = settle));
      wanted += 1_000;
      session.sayBytes(MESSAGE.repeat(1_000));
      await all;
    }
  };
  for (isSlow of [false, true]) {
    await round();
    const before = await used();
    await round();
    const more = (await used()) - before;
    // Some 100 bytes of each would be 1 MB.
    assert.ok(more < 500_000, `${more} bytes more than 10,000 messages before`);
  }
  await client.close();
});

test("a connection that is lost while reading waits for a handler is lost at once", async () => {
  const { client, session } = await connected();
  client.on("E", () => new Promise<void>(() => {}));
  // As one chunk, so that all of it has come before the end.
  session.sayBytes(MESSAGE.repeat(1_000));
  await wait(20);
  session.end(1001, "");
  await welcomed();
  await client.close();
});

test("a handler that is taken away twice takes no other with it", async () => {
  const { client, session } = await connected();
  const away = client.on("E", () => {});
  away();
  const text = new Promise<string>((settle) => client.on("E", (_, message) => settle(message.text())));
  away();
  // A byte order mark is a part of the text.
  session.say({ Message: { format: 1, payload: "efbbbf6869" } });
  assert.equal(await text, "\ufeffhi");
  await client.close();
});

test("what connecting cannot work with is an error of an argument", async () => {
  const url = "https://scripted/fanfare";
  const bad = connect({ url, devUser: "alice", serverCertificateHashes: ["not base64!"] });
  assert.equal(await refusal(bad), "argument");
  assert.equal(await refusal(connect({ url, devUser: "alice", token: "x" })), "argument");
  assert.equal(await refusal(connect({ url, devUser: "\ud800" })), "argument");
  const scripted = globalThis.WebTransport;
  Object.assign(globalThis, { WebTransport: class { constructor() { throw new SyntaxError("no such scheme"); } } });
  try {
    assert.equal(await refusal(connect({ url: "http://scripted", devUser: "alice" })), "argument");
  } finally {
    Object.assign(globalThis, { WebTransport: scripted });
  }
});
