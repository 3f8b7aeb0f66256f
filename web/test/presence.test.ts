/** Who is in a group: the client's table against a scripted server's words, without a browser. */

import assert from "node:assert/strict";
import { test } from "node:test";

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
    ({ kind: "changes", group: "room", revision: 1, present: [{ user: "a", connections: 1, data: present }], left: [] });
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
