/** Several servers, against scripted ones: which of them is connected to, and what no other is asked. */

import assert from "node:assert/strict";
import { after, test } from "node:test";

import { connect, type Client } from "../src/client.js";
import { Code } from "../src/codes.js";
import type { FanfareError } from "../src/errors.js";
import type { ConnectOptions, Happenings } from "../src/types.js";
import { Series } from "./series.js";
import { sessions, Session } from "./session.js";

const URLS = ["https://one/fanfare", "https://two/fanfare"];
/** The codes that are about a server; a test compares them with docs/protocol/reconnecting.md. */
const OF_SERVER: readonly number[] = [1001, 2007, 2008, 4001, 4002, 4003, 5001, 5005];

/** One that cannot be reached, or that swallows what is sent to it. */
class Dead {
  readonly closed = new Promise<never>(() => {});
  readonly ready: Promise<void>;

  constructor(readonly url: string) {
    dialed.push(url);
    this.ready = url.includes("silent") ? new Promise(() => {}) : Promise.reject(new Error("refused"));
    this.ready.catch(() => {});
  }

  close(): void {}
}

// Node ends when there is nothing but deadlines to wait for.
const alive = setInterval(() => {}, 1_000);
after(() => clearInterval(alive));

const dialed: string[] = [];
// `https://dead...` and `https://silent...` are what they say, all others are scripted.
Object.assign(globalThis, {
  WebTransport: class {
    constructor(url: string) {
      return /dead|silent/u.test(url) ? new Dead(url) : new Session(url);
    }
  },
});

function connecting(options: Partial<ConnectOptions> = {}): Promise<Client> {
  const reconnect = { firstDelay: 1, maxDelay: 20 };
  const client = connect({ url: URLS, devUser: "alice", transports: ["webtransport"], reconnect, ...options });
  // Looked at later.
  client.catch(() => {});
  return client;
}

/** The next connection, whichever server it is to, before it is welcomed. */
async function asked(): Promise<Session> {
  const session = await sessions.next("a connection");
  await session.got.next("Hello");
  return session;
}

async function welcomed(): Promise<Session> {
  const session = await asked();
  session.say({ Welcome: {} });
  return session;
}

async function connected(options: Partial<ConnectOptions> = {}): Promise<[Client, Session, Happened]> {
  const client = connecting(options);
  const session = await welcomed();
  return [await client, session, new Happened(await client)];
}

const error = (client: Promise<unknown>) =>
  client.then(() => assert.fail("it is connected"), (why: FanfareError) => why);

/** What is told of losses and returns. */
class Happened {
  readonly disconnected = new Series<Happenings["disconnected"]>();
  readonly reconnected = new Series<Happenings["reconnected"]>();
  readonly closed = new Series<Happenings["closed"]>();

  constructor(client: Client) {
    client.when("disconnected", (what) => this.disconnected.push(what));
    client.when("reconnected", (what) => this.reconnected.push(what));
    client.when("closed", (what) => this.closed.push(what));
  }
}

/** Ends a connection as a server that stops, or that sends a client away. */
function sendAway(session: Session, code: number, retryAfter: number): void {
  session.say({ Goodbye: { code, reason: "", retry_after_ms: retryAfter } });
  session.end(code, "");
}

test("the first connection is to each of them sooner or later, and the client says to which", async () => {
  const seen = new Set<string>();
  // 64 go to the same one once in 2^63 times.
  for (let at = 0; at < 64 && seen.size < 2; at++) {
    const [client, session] = await connected();
    assert.equal(client.url, session.url);
    seen.add(client.url);
    await client.close();
  }
  assert.deepEqual([...seen].sort(), URLS);
});

test("a refusal about the server leads to the other, and one about the client to none", async () => {
  for (const code of Object.values(Code).filter((code) => code !== Code.Normal)) {
    const client = connecting();
    const first = await asked();
    first.end(code, "not here");
    if (OF_SERVER.includes(code)) {
      const second = await welcomed();
      assert.notEqual(second.url, first.url);
      assert.equal((await client).url, second.url);
      await (await client).close();
    } else {
      const { code: told, kind } = await error(client);
      assert.deepEqual([kind, told], ["closed", code]);
      assert.equal(sessions.left, 0, "another server was asked");
    }
  }
});

test("where each was tried in vain each is told, and was tried once", async () => {
  const client = connecting();
  const first = await asked();
  first.end(Code.CutOff, "");
  const second = await asked();
  second.end(Code.CutOff, "");
  const { kind, code, message } = await error(client);
  assert.notEqual(first.url, second.url);
  assert.deepEqual([kind, code], ["closed", Code.CutOff]);
  assert.match(message, /none of 2 servers/u);
  assert.equal(sessions.left, 0);
});

test("those that cannot be reached, or swallow what is sent, keep nobody from one that is there", async () => {
  const url = ["https://dead/fanfare", "https://silent/fanfare", URLS[0] as string];
  for (let at = 0; at < 8; at++) {
    const [client] = await connected({ url, connectTimeout: 100 });
    assert.equal(client.url, URLS[0]);
    await client.close();
  }
  // What is said of the client is the answer, although another could not be reached before.
  for (let at = 0; at < 8; at++) {
    const refused = connecting({ url: ["https://dead/fanfare", URLS[0] as string] });
    (await asked()).end(Code.UserBanned, "");
    const { code, message } = await error(refused);
    assert.equal(code, Code.UserBanned);
    assert.doesNotMatch(message, /none of/u);
  }
  const none = ["https://dead/a", "https://silent/b"];
  const { kind, message } = await error(connecting({ url: none, connectTimeout: 50 }));
  assert.equal(kind, "unreachable");
  for (const place of none) assert.ok(message.includes(place), message);
});

test("after a loss it goes on at the other at once, with its groups", async () => {
  const far = { firstDelay: 600_000, maxDelay: 600_000 };
  const [client, session, happened] = await connected({ reconnect: far });
  const joining = client.join("a");
  const { request } = await session.got.next("the join");
  session.say({ Joined: { group: "a", members: 1 } });
  session.say({ Ack: { request, count: 1 } });
  await joining;
  session.end(Code.Internal, "");
  assert.equal((await happened.disconnected.next("the loss")).retryIn, 0);
  const other = await welcomed();
  assert.notEqual(other.url, session.url);
  const again = await other.got.next("the join");
  assert.deepEqual(again.what, { join: "a" });
  other.say({ Ack: { request: again.request, count: 1 } });
  const { rejoined, url } = await happened.reconnected.next("the return");
  assert.deepEqual([rejoined, url, client.url], [["a"], other.url, other.url]);
  await client.close();
});

test("a server that stops is left alone for its time, and the other is not", async () => {
  const [client, stopping, happened] = await connected();
  sendAway(stopping, Code.ShuttingDown, 600_000);
  const { retryIn } = await happened.disconnected.next("the loss");
  assert.ok(retryIn <= 5_000, String(retryIn));
  for (let at = 0; at < 4; at++) {
    const other = await welcomed();
    assert.notEqual(other.url, stopping.url, "it had said when it is back");
    await happened.reconnected.next("the return");
    other.end(Code.Internal, "");
    await happened.disconnected.next("the loss");
  }
  await client.close();
  for (; sessions.left > 0;) await sessions.next("one that was begun");
});

test("what is said to the client in person holds at every server", async () => {
  for (const code of [Code.ClosedForNow, Code.ConnectRefusedForNow, Code.ClosedByOperator]) {
    const [client, session, happened] = await connected();
    sendAway(session, code, 600_000);
    const { retryIn } = await happened.disconnected.next("the loss");
    assert.ok(retryIn >= 600_000, String(retryIn));
    await client.close();
    assert.equal(sessions.left, 0);
  }
});

test("a refusal of the client while it reconnects is the end, and no other is asked", async () => {
  const [, session, happened] = await connected();
  session.end(Code.Internal, "");
  (await asked()).end(Code.UserBanned, "enough");
  assert.equal((await happened.closed.next("the end")).code, Code.UserBanned);
  assert.equal(sessions.left, 0);
});

test("a server that breaks the protocol is left, and where there is no other it is the end", async () => {
  const [client, session, happened] = await connected();
  session.sayBytes("0200000000ff");
  const lost = await happened.disconnected.next("the loss");
  assert.equal(lost.retryIn, 0);
  for (let at = 0; at < 3; at++) {
    const other = await welcomed();
    assert.notEqual(other.url, session.url);
    await happened.reconnected.next("the return");
    other.end(Code.Internal, "");
    await happened.disconnected.next("the loss");
  }
  await client.close();
  for (; sessions.left > 0;) await sessions.next("one that was begun");
  const [, only, alone] = await connected({ url: URLS[0] as string });
  only.sayBytes("0200000000ff");
  await alone.closed.next("the end");
  assert.equal(sessions.left, 0);
});

test("a token provider that fails is not asked again for each server", async () => {
  let calls = 0;
  const tokenProvider = () => {
    calls++;
    return Promise.reject(new Error("the sign-in service is down"));
  };
  const { message } = await error(connect({ url: URLS, tokenProvider }));
  assert.deepEqual([message, calls, sessions.left], ["the sign-in service is down", 1, 0]);
});

test("addresses that make no sense are an error of an argument before anything is tried", async () => {
  const wrong: Partial<ConnectOptions>[] = [
    { url: [] },
    { url: new Array<string>(257).fill("https://one/fanfare") },
    { websocketUrl: ["wss://one/fanfare"] },
  ];
  for (const options of wrong) assert.equal((await error(connecting(options))).kind, "argument");
  assert.equal(sessions.left, 0);
  // One that is given twice is one.
  dialed.length = 0;
  const { message } = await error(connecting({ url: ["https://dead/a", "https://dead/a"] }));
  assert.deepEqual(dialed, ["https://dead/a"]);
  assert.doesNotMatch(message, /none of/u);
});
