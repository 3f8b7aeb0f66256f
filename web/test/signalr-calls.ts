/** SignalR's own client with an application, examples/everything.rs: calls, streams, and what clients answer. */

import { type IStreamResult, Subject } from "@microsoft/signalr";
import { type Case, type Client, items, matches, same, type Scene, unexpected, until } from "./signalr-scene.js";

const STREAMING =
  "The client attempted to invoke the streaming 'Counter' method with a non-streaming invocation.";

/** How many methods that go on have begun, and how many have ended. */
async function going(client: Client): Promise<{ begun: number; ended: number }> {
  const [begun, ended] = await client.hub.invoke<[number, number]>("Going");
  return { begun, ended };
}

/** Waits until nothing goes on that was begun by anybody. */
async function quiet(client: Client): Promise<void> {
  await until("nothing goes on any more", async () => {
    const { begun, ended } = await going(client);
    return begun === ended;
  });
}

/** A stream's first items, with a way to end it. */
function first(stream: IStreamResult<unknown>): { items: unknown[]; over: string[]; dispose: () => void } {
  const [items, over]: [unknown[], string[]] = [[], []];
  const subscription = stream.subscribe({
    next: (item) => void items.push(item),
    complete: () => void over.push("complete"),
    error: (error: Error) => void over.push(error.message),
  });
  return { items, over, dispose: () => subscription.dispose() };
}

const alone = (scene: Scene, ...hear: string[]) => scene.connect("everything", { user: "alice", hear });

export const CALLS: readonly Case[] = [
  {
    name: "a method gives what it was given",
    async run(scene) {
      const { hub } = await alone(scene);
      const values = [null, true, 0, -7, 1.5, 2 ** 53 - 1, "é😀", [], {}, [1, [null]], { a: { b: [1] } }];
      for (const value of values) same(await hub.invoke("Echo", value), value);
      same(await hub.invoke("Add", 40, 2), 42);
      same(await hub.invoke("add", -1, 1), 0);
    },
  },
  {
    name: "bytes go there and back",
    async run(scene) {
      const { hub } = await alone(scene);
      if (scene.encoding === "json") same(await hub.invoke("Reverse", "AQIDAA=="), "AAMCAQ==");
      else same(await hub.invoke("Reverse", Uint8Array.of(1, 2, 3, 0)), Uint8Array.of(0, 3, 2, 1));
    },
  },
  {
    name: "a method that gives nothing is not one that gives null",
    async run(scene) {
      const { hub } = await alone(scene);
      same(await hub.invoke("Nothing"), undefined);
      same(await hub.invoke("Echo", null), null);
    },
  },
  {
    name: "a caller is who the server knows",
    async run(scene) {
      const alice = await alone(scene);
      same(await alice.hub.invoke("Whoami"), { user: alice.name, connection: alice.id, transport: "signalr" });
    },
  },
  {
    name: "errors have SignalR's words, and of what went wrong no more than the application says",
    async run(scene) {
      const alice = await alone(scene);
      const [wrong, failed] = [
        (method: string) => `Failed to invoke '${method}' due to an error on the server.`,
        (method: string) => `An unexpected error occurred invoking '${method}' on the server.`,
      ];
      for (const [method, args, text] of [
        ["Missing", [], `${wrong("Missing")} HubException: Method does not exist.`],
        // Without an application it would be there.
        ["JoinGroup", ["room"], `${wrong("JoinGroup")} HubException: Method does not exist.`],
        ["Add", [], wrong("Add")],
        ["Add", [1], wrong("Add")],
        ["Add", [1, 2, 3], wrong("Add")],
        ["Add", ["1", 2], wrong("Add")],
        ["Fail", ["no more than three"], unexpected("Fail", "no more than three")],
        ["FailOwn", [], unexpected("FailOwn", "sold out")],
        ["FailInside", [], failed("FailInside")],
        ["Panic", [], failed("Panic")],
        ["Counter", [3], STREAMING],
      ] as [string, unknown[], string][]) {
        same([method, args, await alice.error(method, ...args)], [method, args, text]);
      }
      matches(await alice.error("Late"), /^An unexpected error .+ HubException: .+ \(code 5003\)$/u);
      const ended = await items(alice.hub.stream("Add", 1, 2));
      const sentence = "The client attempted to invoke the non-streaming 'Add' method with a streaming invocation.";
      same(ended, { items: [], error: sentence });
      const none = await items(alice.hub.stream("Missing"));
      same(none, { items: [], error: `${wrong("Missing")} HubException: Method does not exist.` });
      same(await alice.hub.invoke("Add", 1, 2), 3);
    },
  },
  {
    name: "a refused token does not end a connection of an application",
    async run(scene) {
      const alice = await alone(scene);
      matches(await alice.error("fanfare.Refresh", "a token"), /HubException: .+ \(code 3001\)$/u);
      same(await alice.hub.invoke("Add", 1, 2), 3);
    },
  },
  {
    name: "calls are carried out in their order, whether their answer is wanted or not",
    async run(scene) {
      const { hub, heard } = await alone(scene, "Number");
      const room = scene.named("room");
      same(await hub.invoke("Join", room), 1);
      const calls: Promise<unknown>[] = [];
      // No more at a time than may wait.
      for (let number = 0; number < 60; number++) {
        calls.push(hub[number % 2 ? "send" : "invoke"]("Broadcast", room, "Number", number));
      }
      await Promise.all(calls);
      await until("all of them are here", () => heard.length === 60);
      same(heard, Array.from({ length: 60 }, (_, number) => ["Number", number]));
      same(await hub.invoke("Leave", room), true);
      same(await hub.invoke("Broadcast", room, "Number", -1), 0);
    },
  },
  {
    name: "the application's groups have members of both encodings",
    async run(scene) {
      const room = scene.named("both");
      const clients = [
        await scene.connect("everything", { user: "json", encoding: "json", hear: ["Said"] }),
        await scene.connect("everything", { user: "pack", encoding: "messagepack", hear: ["Said"] }),
      ];
      for (const [at, { hub }] of clients.entries()) same(await hub.invoke("Join", room), at + 1);
      for (const { hub } of clients) same(await hub.invoke("Broadcast", room, "Said", { a: [1.5, "b"] }), 2);
      for (const { heard } of clients) {
        await until("both are heard", () => heard.length === 2);
        same(heard, [["Said", { a: [1.5, "b"] }], ["Said", { a: [1.5, "b"] }]]);
      }
    },
  },
  {
    name: "a stream has its items in their order, and its end",
    async run(scene) {
      const { hub } = await alone(scene);
      for (const count of [0, 1, 2_000]) {
        const wanted = Array.from({ length: count }, (_, number) => number);
        same(await items(hub.stream("Counter", count)), { items: wanted });
      }
      const both = await Promise.all([items(hub.stream("Counter", 500)), items(hub.stream("counter", 300))]);
      same(both.map(({ items }) => items.length), [500, 300]);
    },
  },
  {
    name: "a stream that fails has its items before the error",
    async run(scene) {
      const { hub } = await alone(scene);
      const { items: got, error } = await items(hub.stream("FailingStream", 3));
      same(got, [0, 1, 2]);
      matches(error ?? "", /HubException: that is all$/u);
      const refused = await items(hub.stream("FailingStream", "three"));
      same(refused, { items: [], error: "Failed to invoke 'FailingStream' due to an error on the server." });
    },
  },
  {
    name: "a stream that nobody wants any more is ended on the server, and its connection goes on",
    async run(scene) {
      const alice = await alone(scene);
      const before = await going(alice);
      const streams = [first(alice.hub.stream("Endless")), first(alice.hub.stream("Endless"))];
      for (const stream of streams) await until("items come", () => stream.items.length > 100);
      for (const stream of streams) stream.dispose();
      await quiet(alice);
      same((await going(alice)).begun, before.begun + 2);
      for (const { items: got, over } of streams) {
        same(got.slice(0, 100), Array.from({ length: 100 }, (_, number) => number));
        // Who has ended it is told nothing more.
        same(over, []);
      }
      same(await alice.hub.invoke("Add", 1, 2), 3);
    },
  },
  {
    name: "a stream ends with its connection, on both sides",
    async run(scene) {
      const [alice, bob] = [await alone(scene), await scene.connect("everything", { user: "bob" })];
      const stream = first(alice.hub.stream("Endless"));
      const slow = alice.hub.invoke("Slow").then(() => "done", (error: Error) => error.message);
      await until("items come", () => stream.items.length > 10);
      await until("both go on", async () => {
        const { begun, ended } = await going(bob);
        return begun - ended === 2;
      });
      await alice.hub.stop();
      await quiet(bob);
      same(stream.over, ["Invocation canceled due to the underlying connection being closed."]);
      same(await slow, "Invocation canceled due to the underlying connection being closed.");
    },
  },
  {
    name: "a client's stream is taken to its end, in a call with an answer and in one without",
    async run(scene) {
      const { hub, heard } = await alone(scene, "Sum");
      const numbers = new Subject<number>();
      const sum = hub.invoke("Sum", numbers);
      for (let number = 1; number <= 1_000; number++) numbers.next(number);
      numbers.complete();
      same(await sum, 500_500);
      const none = new Subject<number>();
      const zero = hub.invoke("Sum", none);
      none.complete();
      same(await zero, 0);
      const others = new Subject<number>();
      await hub.send("TellSum", others);
      for (const number of [1, 2, 3]) others.next(number);
      others.complete();
      await until("the sum is told", () => heard.length === 1);
      same(heard, [["Sum", 6]]);
    },
  },
  {
    name: "a client's stream that fails, or has an item that is none, fails its call",
    async run(scene) {
      const alice = await alone(scene);
      const broken = new Subject<number>();
      const failing = alice.error("Sum", broken);
      broken.next(1);
      broken.error(new Error("the sensor is gone"));
      matches(await failing, /^An unexpected error occurred invoking 'Sum' on the server\./u);
      const wrong = new Subject<unknown>();
      const refused = alice.error("Sum", wrong);
      wrong.next("one");
      same(await refused, "Failed to invoke 'Sum' due to an error on the server.");
      same(await alice.error("Sum"), "Failed to invoke 'Sum' due to an error on the server.");
      same(await alice.hub.invoke("Add", 1, 2), 3);
    },
  },
  {
    name: "of a client's stream no more is taken than its method wants, and what comes behind that does no harm",
    async run(scene) {
      const alice = await alone(scene);
      const values = new Subject<unknown>();
      const early = alice.hub.invoke("FirstOf", 2, values);
      for (const value of ["a", { b: 1 }]) values.next(value);
      same(await early, ["a", { b: 1 }]);
      for (let number = 0; number < 1_000; number++) values.next(number);
      values.complete();
      same(await alice.hub.invoke("Add", 1, 2), 3);
      // A stream of the next call is another one, and one that no method takes is passed over.
      const next = new Subject<unknown>();
      const again = alice.hub.invoke("FirstOf", 1, next);
      next.next(3);
      next.complete();
      same(await again, [3]);
    },
  },
  {
    name: "a stream there and another back",
    async run(scene) {
      const alice = await alone(scene);
      const values = new Subject<unknown>();
      const back = first(alice.hub.stream("EchoStream", values));
      // Each comes back before the next one goes.
      for (const [at, value] of ["a", null, { b: [1] }].entries()) {
        values.next(value);
        await until("it comes back", () => back.items.length === at + 1);
      }
      values.complete();
      await until("it ends", () => back.over.length === 1);
      same(back, { items: ["a", null, { b: [1] }], over: ["complete"] });
      const more = new Subject<unknown>();
      const cut = first(alice.hub.stream("EchoStream", more));
      more.next(1);
      await until("it comes back", () => cut.items.length === 1);
      cut.dispose();
      await quiet(alice);
      more.next(2);
      same(await alice.hub.invoke("Add", 1, 2), 3);
    },
  },
  {
    name: "a method asks its caller",
    async run(scene) {
      const { hub } = await alone(scene);
      hub.on("Confirm", (question: string) => `${question} yes`);
      same(await hub.invoke("AskMe", "sure?"), "sure? yes");
      hub.off("Confirm");
      hub.on("confirm", async (question: string) => Promise.resolve({ asked: [question] }));
      same(await hub.invoke("AskMe", "sure?"), { asked: ["sure?"] });
      hub.off("Confirm");
      hub.on("Confirm", () => null);
      same(await hub.invoke("AskMe", "sure?"), null);
    },
  },
  {
    name: "a caller that has no answer says so, and its caller hears it",
    async run(scene) {
      const alice = await alone(scene);
      const reason = (text: string) => new RegExp(`^An unexpected error .+ HubException: ${text}`, "u");
      matches(await alice.error("AskMe", "sure?"), reason("Client didn't provide a result\\."));
      alice.hub.on("Confirm", () => {
        throw new Error("not now");
      });
      matches(await alice.error("AskMe", "sure?"), reason("Error: not now"));
      alice.hub.off("Confirm");
      alice.hub.on("Confirm", () => undefined);
      matches(await alice.error("AskMe", "sure?"), reason("Client didn't provide a result\\."));
      alice.hub.on("Confirm", () => 1);
      alice.hub.on("Confirm", () => 2);
      matches(await alice.error("AskMe", "sure?"), reason("Client provided multiple results\\."));
      same(await alice.hub.invoke("Add", 1, 2), 3);
    },
  },
  {
    name: "a caller that goes away while it is asked keeps nobody waiting",
    async run(scene) {
      const [alice, bob] = [await alone(scene), await scene.connect("everything", { user: "bob" })];
      let asked = false;
      alice.hub.on("Confirm", () => {
        asked = true;
        return new Promise(() => {});
      });
      const asking = alice.hub.invoke("AskMe", "sure?").then(() => "done", () => "failed");
      await until("she is asked", () => asked);
      await alice.hub.stop();
      same(await asking, "failed");
      same(await bob.hub.invoke("Add", 1, 2), 3);
    },
  },
];
