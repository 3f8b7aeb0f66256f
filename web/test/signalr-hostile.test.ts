/**
 * What no client of SignalR's says: each attack ends with a `Close` that says why, or is bounded, and a good client
 * beside it is served as ever.
 */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, afterEach, before, describe, test } from "node:test";

import { BINARY, tcp, TEXT } from "./raw-socket.js";
import { framed, pack, RawHub, record } from "./raw-hub.js";
import { Server } from "./server.js";
import { type Encoding, until } from "./signalr-scene.js";
import { Stage } from "./signalr-stage.js";

const MIB = 1 << 20;

let stage: Stage;
/** Beside every attack, one on each server. */
let good: RawHub[];

before(async () => {
  stage = await Stage.start();
  const places = [stage.urls.dev, stage.urls.everything];
  good = await Promise.all(places.map((url) => RawHub.open(`${url}?user=good`)));
});

after(async () => {
  for (const hub of good ?? []) hub.socket.drop();
  await stage?.stop();
});

/** What a test has opened. */
const opened: RawHub[] = [];

afterEach(() => {
  for (const hub of opened.splice(0)) hub.socket.drop();
});

async function open(place: "dev" | "everything", encoding: Encoding, user = "hostile"): Promise<RawHub> {
  const hub = await RawHub.open(`${stage.urls[place]}?user=${encodeURIComponent(user)}`, encoding);
  opened.push(hub);
  return hub;
}

/** How many methods go on. */
async function going(): Promise<number> {
  const [, other] = good as [RawHub, RawHub];
  const [begun, ended] = (await other.call("Going"))["result"] as [number, number];
  return begun - ended;
}

/** The good clients have heard of nothing, and are answered. */
async function undisturbed(): Promise<void> {
  const [one, other] = good as [RawHub, RawHub];
  assert.equal((await one.call("Count", "user", "good"))["result"], 1);
  assert.equal((await other.call("Add", 40, 2))["result"], 42);
}

const call = (members: object) => ({ type: 1, invocationId: "1", target: "Count", arguments: ["x"], ...members });
const deep = (depth: number) => "[".repeat(depth) + "]".repeat(depth);
const argument = (text: string) => `{"type":1,"invocationId":"1","target":"Count","arguments":[${text}]}\x1e`;

/** What is no message of the hub protocol in JSON. */
const NO_JSON: [what: string, bytes: string | Buffer][] = [
  ["no JSON", '{"type":\x1e'],
  ["nothing", "\x1e"],
  ["two values", '{"type":6}{"type":6}\x1e'],
  ["a comment", '{"type":6} // ping\x1e'],
  ["a comma too much", '{"type":6,}\x1e'],
  ["an array", record([1, {}, "1", "Count", ["x"]])],
  ["a text", '"ping"\x1e'],
  ["no type", record({ target: "Count" })],
  ["a type that is a text", record({ type: "6" })],
  ["a type that is a fraction", record({ type: 1.5 })],
  ["a type twice", '{"type":6,"type":1}\x1e'],
  ["no target", record(call({ target: undefined }))],
  ["a target that is a number", record(call({ target: 7 }))],
  ["a target that is null", record(call({ target: null }))],
  ["no arguments", record(call({ arguments: undefined }))],
  ["arguments that are an object", record(call({ arguments: { 0: "x" } }))],
  ["an id that is a number", record(call({ invocationId: 1 }))],
  ["an id that is longer than ids are", record(call({ invocationId: "x".repeat(1_000) }))],
  ["streams that are no array", record(call({ streamIds: "1" }))],
  ["streams that are numbers", record(call({ streamIds: [1] }))],
  ["more streams than any method takes", record(call({ streamIds: Array.from({ length: 1_000 }, String) }))],
  ["an item without an id", record({ type: 2, item: 1 })],
  ["a completion with both", record({ type: 3, invocationId: "1", result: 1, error: "no" })],
  ["a stream's call without an id", record({ type: 4, target: "Count", arguments: [] })],
  ["a cancellation without an id", record({ type: 5 })],
  ["a little too deep", argument(deep(64))],
  ["as deep as a message is long", argument(deep(30_000))],
  ["depth that is never closed", argument("[".repeat(60_000))],
  ["half of a surrogate pair", argument('"\\ud800"')],
  ["a number beyond 64 bits", argument("1e999")],
  ["a control character", argument('"\n"')],
  ["what is not UTF-8", Buffer.from(argument('"\xff\xfe"'), "latin1")],
  ["UTF-8 that is longer than it must be", Buffer.from(argument('"\xc0\xaf"'), "latin1")],
  ["a message that is too long", argument(`"${"x".repeat(100_000)}"`)],
  ["a message without an end", "x".repeat(100_000)],
  ["spaces without an end", " ".repeat(100_000)],
];

const packed = (...values: unknown[]) => framed(pack(values));
const raw = (hex: string) => framed(Buffer.from(hex.replaceAll(" ", ""), "hex"));

/** The same in MessagePack. */
const NO_PACK: [what: string, bytes: Buffer][] = [
  ["an empty message", Buffer.of(0)],
  ["the byte that stands for nothing", raw("c1")],
  ["a map", raw("81 a4 74797065 06")],
  ["a number", raw("06")],
  ["an empty array", raw("90")],
  ["a type that is a text", packed("6")],
  ["a type that is nil", packed(null)],
  ["an invocation with three elements", packed(1, {}, "1")],
  ["a target that is a number", packed(1, {}, "1", 7, [])],
  ["a target that is binary", packed(1, {}, "1", Buffer.from("Count"), [])],
  ["arguments that are a map", packed(1, {}, "1", "Count", { a: 1 })],
  ["an id that is a number", packed(1, {}, 1, "Count", ["x"])],
  ["streams that are numbers", packed(1, {}, "1", "Count", ["x"], [1])],
  ["a completion of a kind that is none", packed(3, {}, "1", 9, 1)],
  ["a completion without its result", packed(3, {}, "1", 3)],
  ["a cancellation without an id", packed(5, {}, null)],
  ["something behind the message", framed(Buffer.concat([pack([6]), Buffer.of(0xc0)]))],
  ["half a message", framed(pack([1, {}, "1", "Count", ["x"]]).subarray(0, 20))],
  ["arguments that are as many as there can be", raw("95 01 80 a131 a5 436f756e74 dd ffffffff")],
  ["a map that is as large as it can be", raw("95 01 df ffffffff")],
  ["a text that is as long as it can be", raw("95 01 80 a131 db ffffffff 41")],
  ["binary that is as long as it can be", raw("95 01 80 a131 a5 436f756e74 91 c6 ffffffff 00")],
  ["an extension that is as long as it can be", raw("95 01 80 a131 a5 436f756e74 91 c9 ffffffff 01 00")],
  ["a text that is not UTF-8", raw("95 01 80 a131 a2 fffe 90")],
  ["a text in an argument that is not UTF-8", raw("95 01 80 a131 a5 436f756e74 91 a2 fffe")],
  ["a little too deep", raw(`95 01 80 a131 a5 436f756e74 91 ${"91".repeat(64)} c0`)],
  ["as deep as a message is long", raw(`95 01 80 a131 a5 436f756e74 91 ${"91".repeat(60_000)} c0`)],
  ["a message that is too long", packed(1, {}, "1", "Count", ["x".repeat(100_000)])],
  ["a length beyond every message", Buffer.from("ffffffff07", "hex")],
  ["a length beyond 31 bits", Buffer.from("ffffffff0f", "hex")],
  ["a length of six bytes", Buffer.from("808080808001", "hex")],
];

for (const [encoding, attacks] of [["json", NO_JSON], ["messagepack", NO_PACK]] as const) {
  describe(`what is no message in ${encoding}`, { timeout: 120_000 }, () => {
    for (const [what, bytes] of attacks) {
      test(what, async () => {
        const hub = await open("everything", encoding);
        hub.socket.send(bytes, { opcode: BINARY });
        const { error, allowReconnect = false } = await hub.closed();
        assert.match(String(error), /^.+ \(code \d+\)$/u);
        // The client would do the same again.
        assert.equal(allowReconnect, false);
        await undisturbed();
      });
    }
  });
}

describe("what is no WebSocket", { timeout: 120_000 }, () => {
  const masked = (head: string, payload = "") => Buffer.from(`${head}00000000${payload}`.replaceAll(" ", ""), "hex");

  for (const [what, bytes] of [
    ["a frame without a mask", Buffer.from("810a7b2274797065223a367d", "hex")],
    ["an opcode that is none", masked("83 80")],
    ["a bit that nobody has agreed on", masked("c1 81", "41")],
    ["a continuation of nothing", masked("80 80")],
    ["a message within another", Buffer.concat([masked("01 81", "7b"), masked("81 81", "7b")])],
    ["a ping in pieces", masked("09 80")],
    ["a ping that is too long", masked("89 fe 0080", "00".repeat(128))],
    ["a length beyond 63 bits", masked("82 ff ffffffffffffffff", "00")],
    ["a frame that is longer than any message", masked("82 ff 0000000100000000", "00".repeat(100_000))],
    ["a close with half a status", masked("88 81", "03")],
    ["bytes that are no frame", Buffer.from("GET / HTTP/1.1\r\n\r\n")],
  ] as const) {
    test(what, async () => {
      const hub = await open("dev", "json");
      hub.socket.write(bytes);
      // WebSocket's own error, a Close before it, or no more than an end.
      assert.notEqual(await hub.socket.end(), 101);
      await undisturbed();
    });
  }

  test("text that is not UTF-8", async () => {
    const hub = await open("dev", "json");
    hub.socket.send(Buffer.from(argument('"\xff"'), "latin1"), { opcode: TEXT });
    await hub.socket.end();
    await undisturbed();
  });

  test("a frame of which half comes, and then the end of TCP", async () => {
    for (const encoding of ["json", "messagepack"] as const) {
      const hub = await open("dev", encoding, "half");
      hub.socket.write(masked("82 fe 0400", "00".repeat(100)));
      hub.socket.finish();
      await hub.socket.end();
      const [one] = good as [RawHub, RawHub];
      await until("it has gone", async () => (await one.call("Count", "user", "half"))["result"] === 0);
    }
    await undisturbed();
  });

  test("many connections that say nothing, or half a request, are ended in time", async () => {
    const sockets = Array.from({ length: 50 }, (_, at) => {
      const socket = tcp(stage.urls.dev);
      if (at % 2) socket.write("GET /signalr HTTP/1.1\r\nhost: localhost\r\nx-long: ");
      return new Promise((settle) => socket.resume().once("close", settle));
    });
    await undisturbed();
    await Promise.all(sockets);
  });

  test("a request's head that does not end is not kept", async () => {
    const socket = tcp(stage.urls.dev);
    const over = new Promise((settle) => socket.resume().once("close", settle));
    socket.write("GET /signalr?user=a HTTP/1.1\r\nhost: localhost\r\n");
    const line = `x-header: ${"x".repeat(1_000)}\r\n`;
    const talking = setInterval(() => void (socket.writable && socket.write(line.repeat(20))), 5);
    await over;
    clearInterval(talking);
    await undisturbed();
  });
});

describe("what is too much", { timeout: 240_000 }, () => {
  for (const encoding of ["json", "messagepack"] as const) {
    test(`the same id for several calls in ${encoding}`, async () => {
      const hub = await open("everything", encoding);
      for (let times = 0; times < 3; times++) hub.say({ type: 1, invocationId: "a", target: "Slow", arguments: [] });
      for (let times = 0; times < 3; times++) hub.say({ type: 4, invocationId: "b", target: "Endless", arguments: [] });
      for (let times = 0; times < 3; times++) {
        hub.say({ type: 1, invocationId: "c", target: "Sum", arguments: [], streamIds: ["s", "s"] });
      }
      // Each that repeats another is refused by itself, or all ends: not one of them is answered twice.
      let refused = false;
      while (!refused) {
        const message = await hub.next("a refusal");
        refused = message === undefined || message.type === 7 || (message.type === 3 && "error" in message);
      }
      hub.socket.drop();
      await until("nothing goes on", async () => (await going()) === 0);
      await undisturbed();
    });

    test(`more calls, and more streams, than may be at a time, in ${encoding}`, async () => {
      const hub = await open("everything", encoding);
      const ids = (kind: string) => Array.from({ length: 200 }, (_, at) => `${kind}${at}`);
      for (const id of ids("call")) hub.say({ type: 1, invocationId: id, target: "Slow", arguments: [] });
      for (const id of ids("stream")) {
        hub.say({ type: 1, invocationId: id, target: "Sum", arguments: [], streamIds: [`of ${id}`] });
      }
      // What is beyond is refused, each by its number; the connection goes on.
      const refused = new Set<string>();
      while (refused.size < 200 + 200 - 65 - 16) {
        const message = await hub.next("the refusals");
        assert.equal(message?.type, 3);
        assert.match(String(message["error"]), /\(code 4008\)$/u);
        refused.add(message["invocationId"] as string);
      }
      await undisturbed();
    });

    test(`a flood of pings in ${encoding}`, async () => {
      const hub = await open("dev", encoding);
      const pings = Buffer.concat(Array.from({ length: 100 }, () => {
        return encoding === "json" ? Buffer.from(record({ type: 6 })) : framed(pack([6]));
      }));
      for (let times = 0; times < 50; times++) {
        hub.socket.send(pings);
        if (times % 10 === 0) await undisturbed();
      }
      // It is answered behind them, or was closed for them.
      hub.say({ type: 1, invocationId: "1", target: "Count", arguments: ["x"] });
      const message = await hub.next("an answer");
      assert.ok(message?.type === 3 || message?.type === 7, JSON.stringify(message));
      await undisturbed();
    });

    test(`a client that never reads is closed, in ${encoding}, and who reads has everything`, async () => {
      const [deaf, hearing] = [await open("dev", encoding, "deaf"), await open("dev", encoding, "hearing")];
      const talker = await open("dev", encoding, "talker");
      const room = `loud ${encoding}`;
      for (const hub of [deaf, hearing]) await hub.call("JoinGroup", room);
      deaf.socket.stopReading();
      const text = "x".repeat(30_000);
      let sent = 0;
      const gone = async () => (await talker.call("Count", "user", "deaf"))["result"] === 0;
      await until("it is closed", async () => {
        await talker.call("SendToGroup", room, "Load", sent++, text);
        const message = await hearing.next("the load");
        assert.deepEqual([message?.["target"], (message?.["arguments"] as unknown[])[0]], ["Load", sent - 1]);
        return sent % 10 === 0 && gone();
      });
      assert.match(stage.dev.command("admin", "status"), /SlowConsumer \d/u);
      await undisturbed();
    });

    test(`who reads too slowly is told how much is missing, where that is the policy, in ${encoding}`, async () => {
      const server = await Server.start("--dev", "--overflow=drop-oldest", "--requests-per-second=0");
      try {
        const [slow, talker] = [
          await RawHub.open(`${server.signalr}?user=slow`, encoding),
          await RawHub.open(`${server.signalr}?user=talker`, encoding),
        ];
        opened.push(slow, talker);
        slow.socket.stopReading();
        // Beyond what the system's own buffers take.
        const [sent, text] = [1_000, "x".repeat(30_000)];
        for (let number = 0; number < sent; number++) await talker.call("SendToUser", "slow", "Load", number, text);
        await talker.call("SendToUser", "slow", "End");
        slow.socket.readAgain();
        let [next, missing] = [0, 0];
        for (let message = await slow.next(); message?.["target"] !== "End"; message = await slow.next()) {
          const [first] = (message?.["arguments"] ?? []) as [number?];
          if (message?.["target"] === "fanfare.Lagged") {
            missing += first ?? 0;
            next += first ?? 0;
          } else {
            // What is missing is told where it is missing.
            assert.deepEqual([message?.["target"], first], ["Load", next++]);
          }
        }
        assert.equal(next, sent);
        assert.ok(missing > 0, "some had to be dropped");
      } finally {
        await server.stop();
      }
    });

    test(`a client that never reads its stream costs no more than its share, in ${encoding}`, async () => {
      const hub = await open("everything", encoding);
      hub.socket.stopReading();
      const before = memory();
      for (let at = 0; at < 16; at++) hub.say({ type: 4, invocationId: `s${at}`, target: "Endless", arguments: [] });
      // All of them, or as many as were begun before what waits for the client held up its requests.
      await until("they go on", async () => (await going()) >= 1);
      // As many calls of others as take a while: items would be made all that time.
      for (let times = 0; times < 1_000; times++) await undisturbed();
      const more = memory() - before;
      assert.ok(more < 32 * MIB, `it took ${more} bytes more`);
      hub.socket.drop();
      await until("they end", async () => (await going()) === 0);
    });

    test(`a client that streams what nobody takes costs no more than its share, in ${encoding}`, async () => {
      const hub = await open("everything", encoding);
      hub.socket.stopReading();
      const before = memory();
      hub.say({ type: 4, invocationId: "s", target: "EchoStream", arguments: [], streamIds: ["u"] });
      const item = "x".repeat(30_000);
      for (let times = 0; times < 2_000; times++) hub.say({ type: 2, invocationId: "u", item });
      for (let times = 0; times < 500; times++) await undisturbed();
      const more = memory() - before;
      assert.ok(more < 32 * MIB, `it took ${more} bytes more`);
    });
  }

  test("many who negotiate and never come", async () => {
    const before = memory("dev");
    for (let times = 0; times < 300; times++) {
      await fetch(`${stage.urls.dev}/negotiate?user=never&negotiateVersion=1`, { method: "POST" });
    }
    const [one] = good as [RawHub, RawHub];
    // Nobody sees them, and nothing of them is large.
    assert.equal((await one.call("Count", "user", "never"))["result"], 0);
    assert.ok(memory("dev") - before < 32 * MIB);
    await undisturbed();
  });
});

/** What a server has of the machine's memory, in bytes. */
function memory(place: "dev" | "everything" = "everything"): number {
  const { pid } = stage[place];
  const [, kib] = /^VmRSS:\s+(\d+) kB$/mu.exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? [];
  return Number(kib) * 1_024;
}
