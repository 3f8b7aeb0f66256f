/** Who is in a group: the client's table against a scripted server's words, without a browser. */

import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";

import type { Present, PresenceFrame } from "../src/frames.js";
import type { PresenceChange, Watch } from "../src/types.js";
import { Watches } from "../src/watches.js";

const of = (users: Record<string, number>): Present[] =>
  Object.entries(users).map(([user, connections]) => ({ user, connections, data: undefined }));
const snapshot = (begins: boolean, complete: boolean, users: Record<string, number>): PresenceFrame =>
  ({ kind: "snapshot", group: "room", revision: 0, begins, complete, present: of(users) });
const changes = (users: Record<string, number>, ...left: string[]): PresenceFrame =>
  ({ kind: "changes", group: "room", revision: 1, present: of(users), left });
const ended: PresenceFrame = { kind: "watchEnded", group: "room", code: 3104, reason: "over" };

function watches() {
  const [unwatched, again]: [string[], string[]] = [[], []];
  return { unwatched, again, all: new Watches((group) => unwatched.push(group), (group) => again.push(group)) };
}

/** A watch whose request has its answer. */
function begun(all: Watches): Watch {
  const watch = all.begin("room");
  all.askedFor(watch).done();
  return watch;
}

/** What comes out of a watch's loop, in words. */
class Heard {
  private readonly turns: AsyncIterator<PresenceChange>;
  private pending: Promise<IteratorResult<PresenceChange>> | undefined;

  constructor(watch: Watch) {
    this.turns = watch[Symbol.asyncIterator]();
  }

  /** The next turn; `nothing` where there is none yet, `end` behind the last. */
  async next(): Promise<string> {
    this.pending ??= this.turns.next();
    // Whatever is there already is given before a timer's turn.
    const later = new Promise<undefined>((settle) => setTimeout(() => settle(undefined), 0));
    const turn = await Promise.race([this.pending, later]);
    if (turn === undefined) return "nothing";
    this.pending = undefined;
    if (turn.done) return "end";
    const here = turn.value.present.map(({ user, connections }) => `+${user} ${connections}`);
    return [...here, ...turn.value.left.map((user) => `-${user}`)].join(", ");
  }
}

test("a snapshot in parts, with changes in between, is given when it is complete", async () => {
  const { all } = watches();
  const watch = all.begin("room");
  const heard = new Heard(watch);
  all.take(snapshot(true, false, { alice: 1 }));
  all.take(changes({ carol: 1, bob: 7 }, "alice"));
  assert.equal(await heard.next(), "nothing");
  assert.deepEqual(watch.present, []);
  all.take(snapshot(false, true, { bob: 2 }));
  assert.equal(await heard.next(), "+carol 1, +bob 2");
  all.take(changes({ dave: 1 }, "bob"));
  all.take(changes({ eve: 1, dave: 2 }, "carol"));
  assert.equal(await heard.next(), "+dave 2, +eve 1, -bob, -carol");
  assert.deepEqual(watch.present.map(({ user }) => user).sort(), ["dave", "eve"]);
  all.take(changes({ frank: 1 }));
  all.take(changes({}, "frank"));
  assert.equal(await heard.next(), "nothing");
});

test("a group of nobody is told as that", async () => {
  const { all } = watches();
  const heard = new Heard(all.begin("room"));
  assert.equal(await heard.next(), "nothing");
  all.take(snapshot(true, true, {}));
  assert.equal(await heard.next(), "");
  assert.equal(await heard.next(), "nothing");
});

test("promise 16: after an outage only what differs is a change", async () => {
  const { all } = watches();
  const heard = new Heard(all.begin("room"));
  all.take(snapshot(true, true, { alice: 1, bob: 1 }));
  assert.equal(await heard.next(), "+alice 1, +bob 1");
  // It is lost in the middle of a snapshot.
  all.take(snapshot(true, false, { alice: 1 }));
  assert.deepEqual(all.connected(), ["room"]);
  all.take(snapshot(true, true, { alice: 1, carol: 1 }));
  assert.equal(await heard.next(), "+carol 1, -bob");
  all.take(snapshot(true, true, { alice: 1, carol: 1 }));
  assert.equal(await heard.next(), "nothing");
});

test("what the application says of a user is a change when it is another", async () => {
  const { all } = watches();
  const heard = new Heard(all.begin("room"));
  const data = (...bytes: number[]) => ({ format: "json" as const, bytes: Uint8Array.from(bytes) });
  const said = (present: Present["data"]): PresenceFrame =>
  ({
    kind: "changes", group: "room", revision: 1, present: [{ user: "a", connections: 1, data: present }], left: [],
  });
  all.take(snapshot(true, true, { a: 1 }));
  assert.equal(await heard.next(), "+a 1");
  for (const [present, told] of [[data(1, 2), "+a 1"], [data(1, 2), "nothing"], [data(1, 3), "+a 1"]] as const) {
    all.take(said(present));
    assert.equal(await heard.next(), told);
  }
});

test("the end of a watch is the last of it, and a group is left with the last who watches it", async () => {
  const { unwatched, all } = watches();
  const [first, second] = [begun(all), begun(all)];
  const [one, two] = [new Heard(first), new Heard(second)];
  all.take(snapshot(true, true, { alice: 1 }));
  assert.deepEqual([await one.next(), await two.next()], ["+alice 1", "+alice 1"]);
  second.close();
  assert.equal(await two.next(), "end");
  assert.deepEqual(unwatched, []);
  all.take(changes({ bob: 1 }));
  all.take(ended);
  all.take(changes({ carol: 1 }));
  assert.equal(await one.next(), "end");
  assert.deepEqual([first.ended, unwatched], [{ code: 3104, reason: "over" }, []]);
  const third = all.begin("room");
  third.close();
  third.close();
  assert.deepEqual(unwatched, ["room"]);
  // A loop that is left closes its watch.
  const fourth = all.begin("room");
  all.take(snapshot(true, true, { alice: 1 }));
  for await (const { present } of fourth) {
    assert.equal(present.length, 1);
    break;
  }
  assert.deepEqual(unwatched, ["room", "room"]);
  const fifth = new Heard(all.begin("room"));
  assert.equal(await fifth.next(), "nothing");
  all.end();
  assert.equal(await fifth.next(), "end");
});

test("the end of a watch does not end one that was begun after it", async () => {
  const { again, all } = watches();
  const first = begun(all);
  const one = new Heard(first);
  all.take(snapshot(true, true, { alice: 1 }));
  assert.equal(await one.next(), "+alice 1");
  // The notice about the first crosses the request for the second.
  const second = all.begin("room");
  const [two, answered] = [new Heard(second), all.askedFor(second)];
  assert.equal(await two.next(), "+alice 1");
  all.take(ended);
  assert.deepEqual([await one.next(), first.ended?.code], ["end", 3104]);
  assert.equal(await two.next(), "nothing");
  all.take(snapshot(true, true, { bob: 1 }));
  assert.equal(await two.next(), "+bob 1, -alice");
  // It may as well have been about the second, which nobody would be told of: it is asked for again.
  assert.deepEqual(again, []);
  answered.done();
  assert.deepEqual(again, ["room"]);
  const once = all.asked("room");
  all.take(ended);
  assert.equal(await two.next(), "nothing");
  once.refused({ code: 3104, reason: "over" });
  assert.deepEqual([await two.next(), second.ended?.code], ["end", 3104]);

  // One that is refused ends no other that has been asked for.
  const [third, fourth] = [all.begin("room"), all.begin("room")];
  const [asked, other] = [all.askedFor(third), all.askedFor(fourth)];
  asked.refused({ code: 3102, reason: "no" });
  other.done();
  assert.deepEqual([third.ended?.code, fourth.ended, again], [3102, undefined, ["room"]]);
});

const cutOff = { code: 5005, reason: "cut off" };

/** The longest pauses that there can be, which end when the test says so: `after` lets so many milliseconds pass. */
function pauses(t: TestContext): { after(ms: number): void } {
  t.mock.method(Math, "random", () => 1);
  t.mock.timers.enable({ apis: ["setTimeout"] });
  return { after: (ms) => t.mock.timers.tick(ms) };
}

test("what is refused for now ends no watch, and is asked for again after pauses that grow", (t) => {
  const { after } = pauses(t);
  const { again, all } = watches();
  const watch = begun(all);
  all.take(snapshot(true, true, { alice: 1 }));
  all.lost();
  assert.deepEqual(all.connected(), ["room"]);
  const here = () => watch.present.map(({ user }) => user);
  for (const pause of [250, 500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000]) {
    all.asked("room").refused(cutOff);
    after(pause - 1);
    assert.deepEqual([again.splice(0), watch.ended, here()], [[], undefined, ["alice"]]);
    after(1);
    assert.deepEqual(again.splice(0), ["room"]);
  }
  // Whoever is refused after it was let in is not made to wait for what was before.
  all.asked("room").done();
  after(3_600_000);
  assert.deepEqual(again, []);
  all.asked("room").refused(cutOff);
  after(250);
  assert.deepEqual(again.splice(0), ["room"]);
  all.asked("room").late();
  after(500);
  assert.deepEqual(again.splice(0), ["room"]);
  all.asked("room").refused({ code: 3103, reason: "no" });
  after(3_600_000);
  assert.deepEqual([again, watch.ended?.code], [[], 3103]);
});

test("nobody asks again for a watch that is closed in the pause, nor on another connection", (t) => {
  const { after } = pauses(t);
  const { unwatched, again, all } = watches();
  const first = begun(all);
  all.asked("room").refused(cutOff);
  first.close();
  assert.deepEqual(unwatched, ["room"]);
  // One that is begun anew asks itself.
  const second = all.begin("room");
  const answered = all.askedFor(second);
  after(3_600_000);
  assert.deepEqual(again, []);
  answered.done();
  for (const over of [() => all.lost(), () => all.connected(), () => all.end()]) {
    all.asked("room").refused(cutOff);
    over();
    after(3_600_000);
    assert.deepEqual([again, second.ended], [[], undefined]);
  }
});

test("what an application's own request is refused with ends no other watch, and where it is let in all are", (t) => {
  const { after } = pauses(t);
  const { unwatched, again, all } = watches();
  const first = begun(all);
  all.take(snapshot(true, true, { alice: 1 }));
  const ask = () => all.askedFor(all.begin("room"));
  ask().refused(cutOff);
  all.take(changes({ bob: 1 }));
  assert.deepEqual([first.present.length, first.ended], [2, undefined]);
  after(3_600_000);
  // While all of it is asked for, too.
  all.asked("room").refused(cutOff);
  ask().refused(cutOff);
  after(249);
  assert.deepEqual([again, unwatched, first.ended], [[], [], undefined]);
  const other = begun(all);
  after(3_600_000);
  assert.deepEqual([again, first.ended], [[], undefined]);
  // Where nobody watches it any more, the server may not have been told of that yet.
  first.close();
  other.close();
  assert.deepEqual(unwatched.splice(0), ["room"]);
  ask().refused(cutOff);
  assert.deepEqual(unwatched, ["room"]);
});

test("a watch that the server ends for now, or that may have ended, is asked for until that is known", (t) => {
  const { after } = pauses(t);
  const { again, all } = watches();
  const first = begun(all);
  const endedForNow = { ...ended, ...cutOff };
  all.take(endedForNow);
  after(250);
  assert.deepEqual(again.splice(0), ["room"]);
  all.asked("room").done();
  // It crosses a request, whose answer may be about what was before.
  const second = all.askedFor(all.begin("room"));
  all.take(endedForNow);
  second.done();
  assert.deepEqual(again.splice(0), ["room"]);
  all.asked("room").refused(cutOff);
  after(250);
  assert.deepEqual([again, first.ended], [["room"], undefined]);
});
