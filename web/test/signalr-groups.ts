/** SignalR's own client with a server that has no application: users, groups and messages. docs/protocol/signalr.md. */

import { type Case, failure, items, matches, same, unexpected, until } from "./signalr-scene.js";

const NO_STREAM =
  "The client attempted to invoke the non-streaming 'JoinGroup' method with a streaming invocation.";

/** Values that every encoding has, and that are the same in each. */
const VALUES = [
  null, true, false, 0, -1, 1.5, 2 ** 53 - 1, -(2 ** 53 - 1), 1e300, "", "é😀\u0000\u2028\"\\", [], {},
  [1, [2, [3]]], { a: { "": null, "ß": [false] } },
];

export const GROUPS: readonly Case[] = [
  {
    name: "a connection knows its id, and is reached by it",
    async run(scene) {
      const alice = await scene.connect("dev", { user: "alice", hear: ["Hello"] });
      const bob = await scene.connect("dev", { user: "bob" });
      same(await bob.hub.invoke("SendToConnection", alice.id, "Hello", "Alice"), 1);
      await until("she hears it", () => alice.heard.length === 1);
      same(alice.heard, [["Hello", "Alice"]]);
      same(alice.id === bob.id, false);
    },
  },
  {
    name: "a connection without negotiation has no id, and all else",
    async run(scene) {
      const alice = await scene.connect("dev", { user: "alice", skipNegotiation: true, hear: ["Hello"] });
      same(alice.hub.connectionId, null);
      same(await alice.hub.invoke("SendToUser", alice.name, "Hello", 1, 2), 1);
      await until("she hears it", () => alice.heard.length === 1);
      same(alice.heard, [["Hello", 1, 2]]);
    },
  },
  {
    name: "groups are joined, sent to, counted and left",
    async run(scene) {
      const [alice, bob] = [
        await scene.connect("dev", { user: "alice", hear: ["Said"] }),
        await scene.connect("dev", { user: "bob", hear: ["Said"] }),
      ];
      const room = scene.named("room");
      same(await alice.hub.invoke("JoinGroup", room), 1);
      same(await bob.hub.invoke("JoinGroup", room), 2);
      same(await bob.hub.invoke("JoinGroup", room), 2);
      same(await bob.hub.invoke("SendToGroup", room, "Said", "to both"), 2);
      same(await bob.hub.invoke("SendToOthersInGroup", room, "Said", "to Alice", { by: "Bob" }), 1);
      same(await bob.hub.invoke("SendToGroup", room, "Said"), 2);
      same(await alice.hub.invoke("LeaveGroup", room), 1);
      same(await bob.hub.invoke("SendToGroup", room, "Said", "to Bob"), 1);
      same(await bob.hub.invoke("LeaveGroup", room), 0);
      same(await bob.hub.invoke("LeaveGroup", room), 0);
      await until("all is heard", () => alice.heard.length === 3 && bob.heard.length === 3);
      same(alice.of("Said"), [["to both"], ["to Alice", { by: "Bob" }], []]);
      same(bob.of("Said"), [["to both"], [], ["to Bob"]]);
    },
  },
  {
    name: "who is in a group is told to who watches it, in any encoding",
    async run(scene) {
      const watcher = await scene.connect("dev", { user: "watcher", hear: ["fanfare.Presence"] });
      const [alice, bob] = [
        await scene.connect("dev", { user: "alice" }),
        await scene.connect("dev", { user: "bob" }),
      ];
      const room = scene.named("watched");
      await alice.hub.invoke("JoinGroup", room);
      same(await watcher.hub.invoke("WatchGroup", room), 1);
      // A table, as docs/protocol/presence.md says that a client keeps it.
      const table = () => {
        const users = new Map<string, number>();
        for (const [group, told] of watcher.of("fanfare.Presence") as [string, any][]) {
          same(group, room);
          if (told.begins) users.clear();
          for (const { user, connections } of told.present) users.set(user, connections);
          for (const user of told.left ?? []) users.delete(user);
        }
        return [...users].sort().join();
      };
      await until("she is told", () => table() === `${alice.name},1`);
      await bob.hub.invoke("JoinGroup", room);
      await until("he is told", () => table() === `${alice.name},1,${bob.name},1`);
      await alice.hub.invoke("LeaveGroup", room);
      await until("she has left", () => table() === `${bob.name},1`);
      same(await watcher.hub.invoke("UnwatchGroup", room), 0);
      const told = watcher.heard.length;
      await bob.hub.invoke("LeaveGroup", room);
      await watcher.hub.invoke("Count", "all");
      same(watcher.heard.length, told);
    },
  },
  {
    name: "users, connections and everyone are sent to, and counted",
    async run(scene) {
      const [one, two] = [
        await scene.connect("dev", { user: "carol", hear: ["Said"] }),
        await scene.connect("dev", { user: "carol", hear: ["Said"] }),
      ];
      const bob = await scene.connect("dev", { user: "bob", hear: ["Said"] });
      await until("those of before are gone", async () => (await bob.hub.invoke("Count", "all")) === 3);
      same(await bob.hub.invoke("SendToUser", one.name, "Said", "to Carol"), 2);
      same(await bob.hub.invoke("SendToConnection", two.id, "Said", "to one of hers"), 1);
      same(await bob.hub.invoke("SendToAll", "Said", "to all"), 3);
      same(await bob.hub.invoke("SendToUser", scene.named("nobody"), "Said"), 0);
      await until("all is heard", () => one.heard.length === 2 && two.heard.length === 3 && bob.heard.length === 1);
      same(one.of("Said"), [["to Carol"], ["to all"]]);
      same(two.of("Said"), [["to Carol"], ["to one of hers"], ["to all"]]);
      const room = scene.named("counted");
      await one.hub.invoke("JoinGroup", room);
      await bob.hub.invoke("JoinGroup", room);
      const counts = [
        await bob.hub.invoke("Count", room),
        await bob.hub.invoke("Count", "group", room),
        await bob.hub.invoke("Count", "user", one.name),
        await bob.hub.invoke("Count", "connection", two.id),
        await bob.hub.invoke("Count", scene.named("nowhere")),
      ];
      same(counts, [2, 2, 2, 1, 0]);
    },
  },
  {
    name: "what is sent without asking for an answer is carried out in its order",
    async run(scene) {
      const alice = await scene.connect("dev", { user: "alice", hear: ["Number"] });
      const room = scene.named("order");
      await alice.hub.send("JoinGroup", room);
      for (let number = 0; number < 200; number++) await alice.hub.send("SendToGroup", room, "Number", number);
      await alice.hub.send("NoSuchMethod");
      await alice.hub.send("JoinGroup", { no: "name" });
      await until("all of them are here", () => alice.heard.length === 200);
      same(alice.of("Number").flat(), Array.from({ length: 200 }, (_, number) => number));
      same(await alice.hub.invoke("Count", room), 1);
    },
  },
  {
    name: "many calls at a time are each answered",
    async run(scene) {
      const alice = await scene.connect("dev", { user: "alice" });
      const rooms = Array.from({ length: 50 }, (_, at) => scene.named(`room ${at}`));
      const answers = rooms.flatMap((room) => [
        alice.hub.invoke("JoinGroup", room), alice.hub.invoke("Count", room), alice.hub.invoke("LeaveGroup", room),
      ]);
      same(await Promise.all(answers), rooms.flatMap(() => [1, 1, 0]));
    },
  },
  {
    name: "what is said at once may be longer than any message",
    async run(scene) {
      const alice = await scene.connect("dev", { user: "alice" });
      // The client puts what waits into one message of the WebSocket: this is more than a megabyte.
      const text = "x".repeat(30_000);
      const answers = Array.from({ length: 40 }, () => {
        return alice.hub.invoke("SendToGroup", scene.named("nobody's"), "Long", text);
      });
      same(await Promise.all(answers), answers.map(() => 0));
    },
  },
  {
    name: "arguments arrive as they were sent, whichever encoding the other one has",
    async run(scene) {
      const alice = await scene.connect("dev", { user: "alice" });
      const [json, pack] = [
        await scene.connect("dev", { user: "json", encoding: "json", hear: ["Value"] }),
        await scene.connect("dev", { user: "pack", encoding: "messagepack", hear: ["Value"] }),
      ];
      const room = scene.named("values");
      for (const client of [json, pack]) await client.hub.invoke("JoinGroup", room);
      for (const value of VALUES) same(await alice.hub.invoke("SendToGroup", room, "Value", value, "and"), 2);
      await until("all is heard", () => json.heard.length + pack.heard.length === 2 * VALUES.length);
      for (const client of [json, pack]) same(client.of("Value"), VALUES.map((value) => [value, "and"]));
    },
  },
  {
    name: "bytes are bytes in MessagePack and a text in base64 in JSON",
    async run(scene) {
      if (scene.encoding === "json") return;
      const alice = await scene.connect("dev", { user: "alice" });
      const [json, pack] = [
        await scene.connect("dev", { user: "json", encoding: "json", hear: ["Bytes"] }),
        await scene.connect("dev", { user: "pack", encoding: "messagepack", hear: ["Bytes"] }),
      ];
      for (const client of [json, pack]) {
        await alice.hub.invoke("SendToConnection", client.id, "Bytes", Uint8Array.of(0, 255, 128), [Uint8Array.of()]);
        await until("she hears it", () => client.heard.length === 1);
      }
      same(json.of("Bytes"), [["AP+A", [""]]]);
      same(pack.of("Bytes"), [[Uint8Array.of(0, 255, 128), [Uint8Array.of()]]]);
    },
  },
  {
    name: "a message is as long as a payload may be, and one that is longer ends its sender",
    async run(scene) {
      const alice = await scene.connect("dev", { user: "alice", hear: ["Long"] });
      const bob = await scene.connect("dev", { user: "bob" });
      const long = "x".repeat(60_000);
      same(await alice.hub.invoke("SendToUser", alice.name, "Long", long), 1);
      await until("it is here", () => alice.heard.length === 1);
      same(alice.of("Long"), [[long]]);
      const error = await bob.error("SendToUser", alice.name, "Long", "x".repeat(70_000));
      matches(error, /^Server returned an error on close: .*\(code \d+\)$/u);
      await until("he is told", () => bob.closed.length === 1);
      matches(bob.closed[0] ?? "", /\(code \d+\)$/u);
      same(await alice.hub.invoke("Count", "user", alice.name), 1);
    },
  },
  {
    name: "names of methods count without regard to case",
    async run(scene) {
      const alice = await scene.connect("dev", { user: "alice", hear: ["Said"] });
      const room = scene.named("case");
      same(await alice.hub.invoke("joingroup", room), 1);
      same(await alice.hub.invoke("JOINGROUP", room), 1);
      same(await alice.hub.invoke("sendToGroup", room, "Said"), 1);
      same(await alice.hub.invoke("cOuNt", room), 1);
      await until("it is heard", () => alice.heard.length === 1);
    },
  },
  {
    name: "errors have SignalR's words",
    async run(scene) {
      const alice = await scene.connect("dev", { user: "alice" });
      const wrong = (method: string) => `Failed to invoke '${method}' due to an error on the server.`;
      same(await alice.error("Nothing"), `${wrong("Nothing")} HubException: Method does not exist.`);
      for (const [method, ...args] of [
        ["JoinGroup"], ["JoinGroup", 7], ["JoinGroup", null], ["JoinGroup", "a", "b"], ["JoinGroup", ["a"]],
        ["SendToGroup", "a"], ["SendToGroup", "a", 1], ["SendToAll"], ["Count"], ["Count", "what", "a"],
        ["SendToConnection", 1, "E"], ["Refresh"],
      ] as const) {
        same([method, args, await alice.error(method, ...args)], [method, args, wrong(method)]);
      }
      const told = (method: string, code: number) => {
        const begin = unexpected(method, "").replace(/[.*+?^${}()|[\]\\]/gu, "\\$&");
        return new RegExp(`^${begin}.+ \\(code ${code}\\)$`, "u");
      };
      matches(await alice.error("JoinGroup", ""), told("JoinGroup", 2101));
      matches(await alice.error("JoinGroup", "x".repeat(257)), told("JoinGroup", 2101));
      matches(await alice.error("SendToGroup", scene.named("room"), ""), told("SendToGroup", 2101));
      matches(await alice.error("Refresh", "a token"), told("Refresh", 3001));
      const { items: got, error } = await items(alice.hub.stream("JoinGroup", scene.named("room")));
      same([got, error], [[], NO_STREAM]);
      // And after all that it is still there, and in no group.
      same(await alice.hub.invoke("Count", scene.named("room")), 0);
    },
  },
  {
    name: "a client of Fanfare's own understands what SignalR's say, and the other way round",
    async run(scene) {
      const [json, pack] = [
        await scene.connect("dev", { user: "json", encoding: "json", hear: ["E"] }),
        await scene.connect("dev", { user: "pack", encoding: "messagepack", hear: ["E"] }),
      ];
      const room = scene.named("mixed");
      for (const client of [json, pack]) await client.hub.invoke("JoinGroup", room);
      await scene.ask("listen", scene.named("native"), room);
      const heard = async () => JSON.parse(await scene.ask("heard")) as Record<string, unknown>;
      same((await heard())["kind"], "welcome");
      same((await heard())["members"], 3);

      await json.hub.invoke("SendToGroup", room, "E", "a", { b: [1.5, null] });
      const fromJson = await heard();
      same([fromJson["event"], fromJson["format"], fromJson["text"]], ["E", "json", '["a",{"b":[1.5,null]}]']);
      same(fromJson["from"], { user: json.name, connection: json.id });
      same(fromJson["to"], { group: room });
      await pack.hub.invoke("SendToOthersInGroup", room, "E", "a", Uint8Array.of(1, 2));
      const fromPack = await heard();
      same([fromPack["format"], fromPack["base64"]], ["msgpack", btoa("\x92\xa1a\xc4\x02\x01\x02")]);
      await until("both have heard it", () => json.heard.length === 2 && pack.heard.length === 1);
      same(json.of("E"), [["a", { b: [1.5, null] }], ["a", "AQI="]]);
      same(pack.of("E"), [["a", { b: [1.5, null] }]]);

      // Each kind of payload as arguments: an array's elements, and anything else as the only one.
      const payloads: [format: string, text: string, inJson: unknown[], inPack: unknown[]][] = [
        ["text", "a text", ["a text"], ["a text"]],
        ["text", '["no JSON"]', ['["no JSON"]'], ['["no JSON"]']],
        ["binary", "bytes", ["Ynl0ZXM="], [new TextEncoder().encode("bytes")]],
        ["json", '[1,"two",[3]]', [1, "two", [3]], [1, "two", [3]]],
        ["json", "[]", [], []],
        ["json", '{"x":1.5}', [{ x: 1.5 }], [{ x: 1.5 }]],
        ["json", "null", [null], [null]],
        // The number 7: what is a byte of its own in UTF-8 can stand on a command line.
        ["msgpack", "\x07", [7], [7]],
      ];
      for (const [format, text, inJson, inPack] of payloads) {
        json.heard.length = pack.heard.length = 0;
        await scene.ask("command", "send", "--user", scene.named("native"), "--to-group", room, "--event", "E",
          "--format", format, "--", text);
        await until(`${format} ${text} is heard`, () => json.heard.length === 1 && pack.heard.length === 1);
        same([format, text, json.of("E"), pack.of("E")], [format, text, [inJson], [inPack]]);
      }
      await scene.ask("hush");
    },
  },
  {
    name: "an operator ends a membership: nothing of the group comes behind it, and to join again is refused",
    async run(scene) {
      const hear = ["Number", "fanfare.Removed", "End"];
      const mallory = await scene.connect("dev", { user: "mallory", hear });
      const [one, two] = [await scene.connect("dev", { user: "one" }), await scene.connect("dev", { user: "two" })];
      const secret = scene.named("secret");
      await mallory.hub.invoke("JoinGroup", secret);
      // Talk that goes on while it happens.
      let talking = true;
      const talk = (async () => {
        for (let number = 0; talking; number++) await one.hub.invoke("SendToGroup", secret, "Number", number);
      })();
      await until("she hears the talk", () => mallory.heard.length > 10);
      await scene.ask("command", "admin", "revoke", mallory.name, secret, "--reason", "left the team");
      await until("she is told", () => mallory.of("fanfare.Removed").length === 1);
      same(mallory.of("fanfare.Removed"), [[secret, 3103, "left the team"]]);
      const before = mallory.of("Number").length;
      for (let number = 0; number < 20; number++) await two.hub.invoke("SendToGroup", secret, "Number", -1);
      same(await two.hub.invoke("SendToUser", mallory.name, "End"), 1);
      await until("the end is here", () => mallory.of("End").length === 1);
      talking = false;
      await talk;
      same(mallory.of("Number").length, before);
      const places = mallory.heard.map(([event]) => event);
      same(places.indexOf("fanfare.Removed"), places.length - 2);
      const refused = "Failed to invoke 'JoinGroup' because user is unauthorized";
      same(await mallory.error("JoinGroup", secret), refused);
      same(await mallory.error("SendToGroup", secret, "Number", 0), refused.replace("JoinGroup", "SendToGroup"));
      same(await two.hub.invoke("Count", secret), 0);
      await scene.ask("command", "admin", "restore", mallory.name, secret);
      same(await mallory.hub.invoke("JoinGroup", secret), 1);
    },
  },
  {
    name: "two of one event's handlers both hear it, and a client without one is not disturbed",
    async run(scene) {
      const alice = await scene.connect("dev", { user: "alice", hear: ["Said", "Said"] });
      await alice.hub.invoke("SendToUser", alice.name, "Unheard", 1);
      await alice.hub.invoke("SendToUser", alice.name, "Said", 2);
      await until("both hear it", () => alice.heard.length === 2);
      same(alice.heard, [["Said", 2], ["Said", 2]]);
    },
  },
  {
    name: "a call whose connection is stopped fails, and the others see that it has gone",
    async run(scene) {
      const [alice, bob] = [await scene.connect("dev", { user: "alice" }), await scene.connect("dev", { user: "bob" })];
      const room = scene.named("leaving");
      await alice.hub.invoke("JoinGroup", room);
      same(await bob.hub.invoke("Count", room), 1);
      await alice.hub.stop();
      same(alice.closed, [""]);
      await until("it is empty", async () => (await bob.hub.invoke("Count", room)) === 0);
      matches(await failure(alice.hub.invoke("Count", room)), /not in the 'Connected' State/u);
      await alice.hub.start();
      same(await alice.hub.invoke("Count", room), 0);
    },
  },
];
