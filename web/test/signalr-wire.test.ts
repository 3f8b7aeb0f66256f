/** SignalR's wire as the contract has it, by hand: negotiation, who is let in, handshakes, and the form of messages. */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { BINARY, RawSocket, Refused, TEXT } from "./raw-socket.js";
import { framed, handshake, pack, RawHub, record } from "./raw-hub.js";
import { Server } from "./server.js";
import { Stage } from "./signalr-stage.js";
import { type Encoding, until } from "./signalr-scene.js";

const ENCODINGS: readonly Encoding[] = ["json", "messagepack"];

let stage: Stage;

before(async () => {
  stage = await Stage.start();
});

after(async () => {
  await stage?.stop();
});

interface Negotiated {
  negotiateVersion: number;
  connectionId: string;
  connectionToken?: string;
}

async function negotiate(url: string, query = "negotiateVersion=1", headers: HeadersInit = {}): Promise<Negotiated> {
  const answer = await fetch(`${url}/negotiate?user=alice&${query}`, { method: "POST", headers });
  assert.equal(answer.status, 200);
  // pysignalr reads nothing else.
  assert.match(answer.headers.get("content-type") ?? "", /^application\/json(;|$)/u);
  return (await answer.json()) as Negotiated;
}

/** The status that a WebSocket is refused with; 101 where it is not. */
async function status(url: string, headers: Record<string, string> = {}): Promise<number> {
  try {
    (await RawSocket.open(url, headers)).drop();
    return 101;
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    return error.status;
  }
}

/** What a handshake is answered with, up to WebSocket's close. */
async function answered(...messages: string[]): Promise<string> {
  const socket = await RawSocket.open(`${stage.urls.dev}?user=alice`);
  for (const message of messages) socket.send(message);
  const answer = await socket.next("an answer");
  assert.equal(await socket.next("the end"), undefined);
  assert.equal(await socket.end(), 1000);
  return answer?.bytes.toString() ?? "nothing";
}

describe("negotiation", { timeout: 120_000 }, () => {
  test("each version is answered in the highest that there is", async () => {
    const url = stage.urls.dev;
    const transports = [{ transport: "WebSockets", transferFormats: ["Text", "Binary"] }];
    for (const [query, version] of [
      ["", 0], ["negotiateVersion=0", 0], ["negotiateVersion=1", 1], ["negotiateVersion=7", 1],
      // signalrcore negotiates anew with what it has connected with before.
      ["negotiateVersion=1&id=an-old-one", 1],
      ["negotiateVersion=1&useStatefulReconnect=true", 1],
    ] as const) {
      const { connectionId, connectionToken, ...rest } = await negotiate(url, query);
      assert.deepEqual(rest, { negotiateVersion: version, availableTransports: transports }, query);
      assert.equal(typeof connectionId, "string");
      if (version === 0) {
        assert.equal(connectionToken, undefined);
        continue;
      }
      // Clients put it into the query as it is.
      assert.match(connectionToken ?? "", /^[\w.~-]{16,}$/u);
      assert.notEqual(connectionToken, connectionId);
    }
    const wrong = await fetch(`${url}/negotiate?user=alice&negotiateVersion=one`, { method: "POST" });
    assert.match(((await wrong.json()) as { error: string }).error, /non-integer protocol version/u);
  });

  test("the token opens one WebSocket, once", async () => {
    const url = stage.urls.dev;
    const { connectionId, connectionToken } = await negotiate(url);
    const at = (id = "") => `${url}?user=alice&id=${id}`;
    assert.equal(await status(at("somebody-elses")), 404);
    assert.equal(await status(at(connectionId)), 404);
    const hub = await RawHub.open(at(connectionToken));
    assert.equal((await hub.call("Count", "connection", connectionId))["result"], 1);
    assert.equal(await status(at(connectionToken)), 409);
    // The second one has not harmed the first.
    assert.equal((await hub.call("Count", "connection", connectionId))["result"], 1);
    hub.socket.close();
    await hub.socket.end();
    const other = await RawHub.open(`${url}?user=bob`);
    await until("it has gone", async () => {
      return (await other.call("Count", "connection", connectionId))["result"] === 0;
    });
    assert.equal(await status(at(connectionToken)), 404);
    other.socket.drop();
  });

  test("in version 0 the id opens it", async () => {
    const { connectionId } = await negotiate(stage.urls.dev, "");
    const hub = await RawHub.open(`${stage.urls.dev}?user=alice&id=${connectionId}`);
    assert.equal((await hub.call("Count", "connection", connectionId))["result"], 1);
    hub.socket.drop();
  });

  test("who shows nothing, or what is not valid, is answered with 401 and no body", async () => {
    const url = stage.urls.tokens;
    for (const authorization of [undefined, "Bearer no-token", "Basic YTpi", "Bearer"]) {
      const headers: Record<string, string> = authorization === undefined ? {} : { authorization };
      const answer = await fetch(`${url}/negotiate?negotiateVersion=1`, { method: "POST", headers });
      assert.deepEqual([answer.status, await answer.text()], [401, ""], authorization);
      await assert.rejects(RawSocket.open(url, headers), { status: 401, body: "" });
      await assert.rejects(RawSocket.open(`${url}?access_token=no-token`, headers), { status: 401, body: "" });
    }
    // In development a name will do, and no name does not.
    assert.equal((await fetch(`${stage.urls.dev}/negotiate`, { method: "POST" })).status, 401);
    assert.equal(await status(stage.urls.dev), 401);
  });

  test("a token may stand in the header or in the query, and the header counts", async () => {
    const [url, token] = [stage.urls.tokens, stage.token("carol", "1h")];
    const bearer = { authorization: `Bearer ${token}` };
    const open = async (place: string, headers: Record<string, string>) => {
      const hub = await RawHub.open(place, "json", headers);
      assert.equal((await hub.call("JoinGroup", "a room")).type, 3);
      hub.socket.drop();
    };
    await open(url, bearer);
    await open(`${url}?access_token=${token}`, {});
    await open(`${url}?access_token=wrong`, bearer);
    await open(url, { authorization: `bearer ${token}` });
    assert.equal(await status(`${url}?access_token=${token}`, { authorization: "Bearer wrong" }), 401);
    for (const [query, headers] of [["", bearer], [`?access_token=${token}`, {}]] as const) {
      assert.equal((await fetch(`${url}/negotiate${query}`, { method: "POST", headers })).status, 200);
    }
    // What was negotiated with a token is claimed with one, too, and by its user.
    const negotiated = await fetch(`${url}/negotiate?negotiateVersion=1`, { method: "POST", headers: bearer });
    const { connectionToken } = (await negotiated.json()) as Negotiated;
    assert.equal(await status(`${url}?id=${connectionToken}`), 401);
    await open(`${url}?id=${connectionToken}`, bearer);
  });

  test("pages of origins that are not listed are refused, and the others are told so", async () => {
    const url = `${stage.urls.dev}/negotiate?negotiateVersion=1`;
    const wanted = "authorization,x-requested-with,x-signalr-user-agent";
    const ask = { "access-control-request-method": "POST", "access-control-request-headers": wanted };
    for (const origin of ["http://127.0.0.1:1", "http://localhost:3000", "https://[::1]"]) {
      const preflight = await fetch(url, { method: "OPTIONS", headers: { origin, ...ask } });
      assert.ok(preflight.ok, origin);
      const allowed = preflight.headers.get("access-control-allow-headers")?.toLowerCase().split(/\s*,\s*/u).sort();
      assert.deepEqual(allowed, wanted.split(","));
      const answers = [
        preflight,
        await fetch(`${url}&user=alice`, { method: "POST", headers: { origin } }),
        // One that is refused for another reason may be read, too.
        await fetch(url, { method: "POST", headers: { origin } }),
      ];
      assert.deepEqual(answers.slice(1).map((answer) => answer.status), [200, 401]);
      for (const { headers } of answers) {
        assert.equal(headers.get("access-control-allow-origin"), origin);
        assert.equal(headers.get("access-control-allow-credentials"), "true");
        // What a cache keeps for one origin is not for another.
        assert.match(headers.get("vary") ?? "", /origin/iu);
      }
      assert.equal(await status(`${stage.urls.dev}?user=alice`, { origin }), 101);
    }
    for (const origin of ["https://app.example", "http://127.0.0.2:1", "http://localhost.evil.example", "null", ""]) {
      const requests = [
        await fetch(url, { method: "OPTIONS", headers: { origin, ...ask } }),
        await fetch(`${url}&user=alice`, { method: "POST", headers: { origin } }),
      ];
      for (const { status: got, headers } of requests) {
        assert.deepEqual([origin, got, headers.get("access-control-allow-origin")], [origin, 403, null]);
      }
      assert.equal(await status(`${stage.urls.dev}?user=alice`, { origin }), 403);
    }
    assert.equal(await status(`${stage.urls.dev}?user=alice`), 101);
  });

  test("an address that negotiates too often has to wait, and then may again", async () => {
    const server = await Server.start("--dev");
    try {
      const ask = () => fetch(`${server.signalr}/negotiate?user=alice`, { method: "POST" });
      const statuses: number[] = [];
      const count = (wanted: number) => statuses.filter((status) => status === wanted).length;
      // Not more at a time than an address has places.
      while (count(429) === 0) {
        statuses.push(...await Promise.all(Array.from({ length: 8 }, async () => (await ask()).status)));
      }
      assert.equal(count(200) + count(429), statuses.length);
      assert.ok(count(200) >= 100, `${count(200)} were answered`);
      await until("it is answered again", async () => (await ask()).status === 200);
    } finally {
      await server.stop();
    }
  });

  test("what is no negotiation and no WebSocket is answered, too", async () => {
    const url = stage.urls.dev;
    for (const [method, path] of [
      ["GET", ""], ["GET", "/negotiate"], ["POST", ""], ["DELETE", ""], ["POST", "/other"],
    ] as const) {
      const { status } = await fetch(`${url}${path}?user=alice`, { method });
      assert.ok(status >= 400 && status < 500, `${method} ${path}: ${status}`);
    }
  });
});

describe("handshakes", { timeout: 120_000 }, () => {
  test("what cannot be spoken is refused in SignalR's words", async () => {
    const failed = "An unexpected error occurred during connection handshake.";
    for (const [said, error] of [
      [handshake("protobuf"), "The protocol 'protobuf' is not supported."],
      [handshake("JSON2"), "The protocol 'JSON2' is not supported."],
      [handshake("json", 3), "The server does not support version 3 of the 'json' protocol."],
      [handshake("messagepack", -1), "The server does not support version -1 of the 'messagepack' protocol."],
      [record([]), failed],
      [record({ protocol: "json" }), failed],
      [record({ protocol: 1, version: 1 }), failed],
      [record({ type: 6 }), failed],
      ["no JSON\x1e", failed],
      ["\x1e", failed],
      ["x".repeat(10_000), failed],
    ] as const) {
      assert.equal(await answered(said), record({ error }), said.slice(0, 80));
    }
  });

  test("who says nothing is told so when the time is over", async () => {
    // In JSON: what is no whole request is none.
    assert.equal(await answered(), record({ error: "Handshake was canceled." }));
    assert.equal(await answered('{"protocol":'), record({ error: "Handshake was canceled." }));
  });

  test("a handshake may come in any cut, as text or as binary, and with messages behind it", async () => {
    const call = { type: 1, invocationId: "1", target: "Count", arguments: ["nobody's"] };
    const answer = record({ type: 3, invocationId: "1", result: 0 });
    const url = `${stage.urls.dev}?user=alice`;
    for (const opcode of [TEXT, BINARY]) {
      for (const version of [0, 1, 2]) {
        const said = Buffer.from(handshake("json", version) + record({ type: 6 }) + record(call));
        for (const deliver of [
          (socket: RawSocket) => socket.send(said, { opcode }),
          (socket: RawSocket) => socket.sendInPieces(said, 1, opcode),
          (socket: RawSocket) => {
            for (const byte of said) socket.send(Buffer.of(byte), { opcode });
          },
          (socket: RawSocket) => {
            socket.send(said.subarray(0, 50), { opcode });
            socket.ping();
            socket.send(said.subarray(50), { opcode });
          },
        ]) {
          const socket = await RawSocket.open(url);
          deliver(socket);
          let got = "";
          while (got.length < answer.length + 3) {
            const message = await socket.next("an answer");
            assert.equal(message?.opcode, TEXT);
            got += message.bytes.toString();
          }
          assert.equal(got, `{}\x1e${answer}`);
          socket.drop();
        }
      }
    }
    const socket = await RawSocket.open(url);
    const packed = [1, {}, "1", "Count", ["nobody's"]];
    socket.send(Buffer.concat([Buffer.from(handshake("messagepack")), framed(pack([6])), framed(pack(packed))]));
    const pieces: Buffer[] = [];
    while (Buffer.concat(pieces).length < 3 + 8) {
      const message = await socket.next("an answer");
      assert.ok(message);
      pieces.push(message.bytes);
    }
    // Completion, no headers, "1", a result, 0.
    assert.deepEqual(Buffer.concat(pieces), Buffer.from("{}\x1e\x07\x95\x03\x80\xa11\x03\x00", "latin1"));
    socket.drop();
  });
});

for (const encoding of ENCODINGS) {
  describe(`messages in ${encoding}`, { timeout: 120_000 }, () => {
    const open = (place: "dev" | "everything" | "brief", user = "alice") =>
      RawHub.open(`${stage.urls[place]}?user=${user}`, encoding);

    test("an event's name is as its sender wrote it, and messages have no member too much", async () => {
      const [alice, bob] = [await open("dev", `alice ${encoding}`), await open("dev", "bob")];
      await bob.call("SendToUser", `alice ${encoding}`, "MiXed", null, [1]);
      assert.deepEqual(await alice.next(), { type: 1, target: "MiXed", arguments: [null, [1]] });
      await bob.call("SendToUser", `alice ${encoding}`, "MiXed");
      assert.deepEqual(await alice.next(), { type: 1, target: "MiXed", arguments: [] });
      for (const hub of [alice, bob]) hub.socket.drop();
    });

    test("a completion has a result, or an error, or nothing", async () => {
      const hub = await open("everything");
      for (const [method, args, wanted] of [
        ["Nothing", [], {}],
        ["Echo", [null], { result: null }],
        ["Echo", [[1.5, { a: "b" }]], { result: [1.5, { a: "b" }] }],
        ["Missing", [], {
          error: "Failed to invoke 'Missing' due to an error on the server. HubException: Method does not exist.",
        }],
        ["Fail", ["no"], { error: "An unexpected error occurred invoking 'Fail' on the server. HubException: no" }],
      ] as const) {
        const { type, invocationId: _, ...rest } = await hub.call(method, ...args);
        assert.deepEqual([method, type, rest], [method, 3, wanted]);
      }
      hub.socket.drop();
    });

    test("a call is cancelled, and answered all the same", async () => {
      const hub = await open("everything");
      hub.say({ type: 1, invocationId: "slow", target: "Slow", arguments: [] });
      // It waits for its turn, and is never begun.
      hub.say({ type: 1, invocationId: "next", target: "Slow", arguments: [] });
      const other = await open("everything", "bob");
      const going = async () => {
        const [begun, ended] = (await other.call("Going"))["result"] as [number, number];
        return begun - ended;
      };
      await until("one of them goes on", async () => (await going()) === 1);
      hub.say({ type: 5, invocationId: "next" });
      hub.say({ type: 5, invocationId: "slow" });
      const ended = [await hub.next(), await hub.next()].map((message) => message?.["invocationId"]);
      assert.deepEqual(ended.sort(), ["next", "slow"]);
      await until("it goes on no more", async () => (await going()) === 0);
      assert.equal((await hub.call("Add", 1, 2))["result"], 3);
      for (const one of [hub, other]) one.socket.drop();
    });

    test("a stream that is cancelled ends without an error", async () => {
      const hub = await open("everything");
      hub.say({ type: 4, invocationId: "s", target: "Endless", arguments: [] });
      for (let item = 0; item < 50; item++) {
        assert.deepEqual(await hub.next(), { type: 2, invocationId: "s", item });
      }
      hub.say({ type: 5, invocationId: "s" });
      let message = await hub.next();
      while (message?.type === 2) message = await hub.next();
      assert.deepEqual(message, { type: 3, invocationId: "s" });
      hub.socket.drop();
    });

    test("a method's question has an id that no client gives, and a late answer does no harm", async () => {
      const hub = await open("everything");
      hub.say({ type: 1, invocationId: "0", target: "AskMe", arguments: ["sure?"] });
      const asked = await hub.next("the question");
      assert.deepEqual([asked?.type, asked?.["target"], asked?.["arguments"]], [1, "Confirm", ["sure?"]]);
      const id = asked?.["invocationId"] as string;
      // JavaScript's are numbers.
      assert.match(id, /[a-z]/iu);
      hub.say({ type: 3, invocationId: id, result: "yes" });
      assert.deepEqual(await hub.next(), { type: 3, invocationId: "0", result: "yes" });
      hub.say({ type: 3, invocationId: id, result: "again" });
      hub.say({ type: 3, invocationId: "nobody's", error: "no" });
      hub.say({ type: 2, invocationId: "nobody's", item: 1 });
      hub.say({ type: 5, invocationId: "nobody's" });
      assert.equal((await hub.call("Add", 1, 2))["result"], 3);
      hub.socket.drop();
    });

    test("what a later client may say is passed over", async () => {
      const hub = await open("dev");
      if (encoding === "json") {
        const more = { headers: { authorization: "Bearer x" }, unknown: [{}] };
        hub.say({ ...more, arguments: ["nobody's"], target: "Count", invocationId: "1", type: 1 });
        for (const type of [8, 9]) hub.say({ type, sequenceId: 1 });
        hub.say({ type: 77, what: "ever" });
      } else {
        const headers = { authorization: "Bearer x" };
        for (const message of [[1, headers, "1", "Count", ["nobody's"], [], "more"], [8, 1], [9, 1], [77, {}]]) {
          hub.socket.send(framed(pack(message)));
        }
      }
      assert.deepEqual(await hub.next(), { type: 3, invocationId: "1", result: 0 });
      assert.equal((await hub.call("Count", "nobody's"))["result"], 0);
      hub.socket.drop();
    });

    test("a client's own Close, or its WebSocket's, is an ordinary end", async () => {
      for (const end of [
        (hub: RawHub) => hub.say({ type: 7 }),
        (hub: RawHub) => hub.socket.close(),
        (hub: RawHub) => hub.socket.close(1001),
      ]) {
        const hub = await open("dev");
        end(hub);
        for (let message = await hub.next(); message; message = await hub.next()) assert.equal(message.type, 7);
        assert.ok([1000, 1001].includes((await hub.socket.end()) ?? 0));
      }
    });

    test("Close says why it ends, and whether to come back", async () => {
      const user = `mallory ${encoding}`;
      for (const [words, reconnect, code] of [
        [["kick"], false, 3010], [["close", "--for", "10ms"], true, 3016],
      ] as const) {
        const hub = await open("dev", encodeURIComponent(user));
        await hub.call("Count", "all");
        stage.dev.command("admin", words[0], "--user", user, ...words.slice(1), "--reason", "so");
        const { error, allowReconnect = false } = await hub.closed();
        assert.match(String(error), new RegExp(`\\(code ${code}\\)$`, "u"));
        assert.equal(allowReconnect, reconnect);
      }
    });

    test("who has pinged and says nothing more is gone; who has never pinged stays", async () => {
      const [silent, pinged] = [await open("brief", "silent"), await open("brief", "pinged")];
      const begun = Date.now();
      pinged.say({ type: 6 });
      await pinged.socket.end();
      const took = Date.now() - begun;
      assert.ok(took >= 2_500, `it was gone after ${took} ms`);
      assert.equal((await silent.call("Count", "user", "pinged"))["result"], 0);
      silent.socket.drop();
    });
  });
}
