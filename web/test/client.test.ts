/** What this client promises its application beside the scenarios that every client is held to. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { connect, type Client } from "../src/client.js";
import { FanfareError } from "../src/errors.js";
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
