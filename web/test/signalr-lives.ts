/** How connections of SignalR's own client begin, last and end: tokens, pings, `Close`, and who comes back. */

import { type Case, type Client, failure, matches, same, type Scene, until } from "./signalr-scene.js";

/** Pauses between attempts to come back: soon, and then for long enough that a server can be started meanwhile. */
const RETURNS = [0, 50, 100, 200, ...new Array<number>(60).fill(500)];

/** The status that a connection is refused with, as the client says it. */
async function refusal(client: Client): Promise<string> {
  return /Status code '(\d+)'/u.exec(await failure(client.hub.start()))?.[1] ?? "no status";
}

/** Waits until it has come back, and is served. */
async function back(client: Client): Promise<void> {
  await until(`${client.name} is back`, async () => {
    if (client.returned.length === 0 || client.hub.state !== "Connected") return false;
    return client.hub.invoke("Count", "user", client.name).then((count) => count === 1, () => false);
  });
}

/** Tokens as an application's page asks for them, with what was asked. */
function tokens(scene: Scene, user: string, ...lifetimes: string[]): { asked: string[]; next: () => Promise<string> } {
  const asked: string[] = [];
  return {
    asked,
    async next() {
      const lifetime = lifetimes.length > 1 ? lifetimes.shift() : lifetimes[0];
      const token = await scene.ask("token", scene.named(user), lifetime ?? "1h");
      asked.push(token);
      return token;
    },
  };
}

export const LIVES: readonly Case[] = [
  {
    name: "who an operator closes is told why, and does not come back",
    async run(scene) {
      const alice = await scene.connect("dev", { user: "alice", reconnect: RETURNS });
      const bob = await scene.connect("dev", { user: "bob" });
      await scene.ask("command", "admin", "kick", "--user", alice.name, "--reason", "bye for now");
      await until("she is closed", () => alice.closed.length === 1);
      matches(alice.closed[0] ?? "", /^Server returned an error on close: .+ \(code 3010\)$/u);
      same(alice.hub.state, "Disconnected");
      await until("she is not here", async () => (await bob.hub.invoke("Count", "user", alice.name)) === 0);
      same(alice.returned, []);
      // Nothing was forbidden.
      await alice.hub.start();
      same(await bob.hub.invoke("Count", "user", alice.name), 1);
    },
  },
  {
    name: "who an operator closes for a time comes back, with a new id and without groups, if its application wants it",
    async run(scene) {
      const alice = await scene.connect("dev", { user: "alice", reconnect: RETURNS });
      const plain = await scene.connect("dev", { user: "plain" });
      const [before, room] = [alice.id, scene.named("room")];
      await alice.hub.invoke("JoinGroup", room);
      for (const { name } of [alice, plain]) {
        await scene.ask("command", "admin", "close", "--user", name, "--for", "10ms", "--reason", "for a moment");
      }
      await until("she is back", () => alice.returned.length === 1);
      same(alice.returned[0] === before, false);
      same(alice.returned, [alice.id]);
      same(await alice.hub.invoke("Count", room), 0);
      same(alice.closed, []);
      await until("the other is closed", () => plain.closed.length === 1);
      matches(plain.closed[0] ?? "", /\(code 3016\)$/u);
    },
  },
  {
    name: "who is banned is closed, and stays out",
    async run(scene) {
      const alice = await scene.connect("dev", { user: "banned", reconnect: RETURNS });
      await scene.ask("command", "admin", "ban", alice.name, "--reason", "enough");
      await until("she is closed", () => alice.closed.length === 1);
      matches(alice.closed[0] ?? "", /\(code 3009\)$/u);
      await failure(alice.hub.start());
      await scene.ask("command", "admin", "unban", alice.name);
      await alice.hub.start();
    },
  },
  {
    name: "a server that stops sends its clients away, and has them back when it is there again",
    async run(scene) {
      const alice = await scene.connect("dev", { user: "alice", reconnect: RETURNS, hear: ["Said"] });
      const plain = await scene.connect("dev", { user: "plain" });
      await scene.ask("restart", "SIGTERM");
      await until("the other is told", () => plain.closed.length === 1);
      // Of an end that was meant no more than that may be said.
      matches(plain.closed[0] ?? "", /^$|\(code 1001\)$/u);
      await back(alice);
      same(await alice.hub.invoke("SendToUser", alice.name, "Said", 1), 1);
      await until("she hears it", () => alice.heard.length === 1);
      same(alice.closed, []);
    },
  },
  {
    name: "a server that is gone from one moment to the next is found again",
    async run(scene) {
      const alice = await scene.connect("dev", { user: "alice", reconnect: RETURNS });
      const plain = await scene.connect("dev", { user: "plain" });
      await scene.ask("restart", "SIGKILL");
      await back(alice);
      await until("the other is closed", () => plain.closed.length === 1);
      same(await alice.hub.invoke("Count", "user", alice.name), 1);
    },
  },
  {
    name: "pings keep a connection that says nothing else, beyond everybody's patience",
    async run(scene) {
      const pings = { every: 400, patience: 2_500 };
      const alice = await scene.connect("brief", { user: "alice", pings });
      const id = alice.id;
      // One comes a second: these are more than anybody would wait for.
      await until("many pings have come", () => alice.pings >= 5);
      same(alice.closed, []);
      same(alice.hub.connectionId, id);
      same(await alice.hub.invoke("Count", "connection", id), 1);
    },
  },
  {
    name: "a token says who it is and what is allowed",
    async run(scene) {
      const alice = await scene.connect("tokens", { token: tokens(scene, "alice").next, hear: ["Said"] });
      const room = scene.named("room");
      same(await alice.hub.invoke("JoinGroup", room), 1);
      same(await alice.hub.invoke("SendToGroup", room, "Said", 1), 1);
      same(await alice.hub.invoke("Count", room), 1);
      for (const [method, ...args] of [
        ["JoinGroup", "elsewhere"], ["SendToGroup", "elsewhere", "E"], ["SendToOthersInGroup", "elsewhere", "E"],
        ["SendToUser", "anybody", "E"], ["SendToAll", "E"], ["Count", "all"], ["Count", "elsewhere"],
      ] as const) {
        const text = `Failed to invoke '${method}' because user is unauthorized`;
        same([method, await alice.error(method, ...args)], [method, text]);
      }
      await until("she hears it", () => alice.heard.length === 1);
      const direct = { token: tokens(scene, "alice").next, skipNegotiation: true };
      const second = await scene.connect("tokens", direct);
      same(await second.hub.invoke("JoinGroup", room), 2);
    },
  },
  {
    name: "without a token, or with a wrong one, nobody is let in",
    async run(scene) {
      same(await refusal(scene.client("tokens")), "401");
      same(await refusal(scene.client("tokens", { token: () => "no token" })), "401");
      const token = await scene.ask("token", scene.named("alice"), "1h");
      const forged = token.slice(0, -2) + (token.endsWith("AA") ? "BB" : "AA");
      same(await refusal(scene.client("tokens", { token: () => forged })), "401");
      for (const wrong of [undefined, "no token", forged]) {
        const direct = scene.client("tokens", { skipNegotiation: true, ...(wrong && { token: () => wrong }) });
        matches(await failure(direct.hub.start()), /WebSocket failed to connect|Unexpected server response: 401/u);
      }
    },
  },
  {
    name: "a connection goes on with a new token of its user, and with no other",
    async run(scene) {
      const alice = await scene.connect("tokens", { token: tokens(scene, "alice").next });
      const [mine, others] = [
        await scene.ask("token", scene.named("alice"), "2h"), await scene.ask("token", scene.named("bob"), "2h"),
      ];
      await alice.hub.invoke("JoinGroup", scene.named("room"));
      same(await alice.hub.invoke("Refresh", mine), 1);
      matches(await alice.error("Refresh", others), /HubException: .+ \(code 3008\)$/u);
      matches(await alice.error("Refresh", "no token"), /HubException: .+ \(code 3003\)$/u);
      same(await alice.hub.invoke("Count", scene.named("room")), 1);
    },
  },
  {
    name: "a token that ends ends the connection, which comes back with the next one",
    async run(scene) {
      const { asked, next } = tokens(scene, "alice", "4s", "4s", "1h");
      const alice = await scene.connect("tokens", { token: next, reconnect: RETURNS, hear: ["fanfare.Expiring"] });
      const before = alice.id;
      const plain = await scene.connect("tokens", { token: tokens(scene, "plain", "3s").next });
      await until("the other is closed", () => plain.closed.length === 1);
      matches(plain.closed[0] ?? "", /\(code 3004\)$/u);
      await until("she is back", () => alice.returned.length === 1);
      same(alice.returned[0] === before, false);
      same(asked.length >= 3, true);
      const [[what, seconds] = []] = alice.of("fanfare.Expiring");
      same([what, typeof seconds], ["token", "number"]);
      same(await alice.hub.invoke("JoinGroup", scene.named("room")), 1);
      same(alice.closed, []);
    },
  },
];
