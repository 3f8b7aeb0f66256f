/** Which of several servers is tried next, and whom an end is about: pure, with chance from seeds. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { test } from "node:test";

import { Code, mayReconnect } from "../src/codes.js";
import { FanfareError } from "../src/errors.js";
import { failed } from "../src/ended.js";
import { Route } from "../src/route.js";
import { share } from "../src/servers.js";
import { verdictOf, type Verdict } from "../src/verdict.js";

const PAUSES = { firstDelay: 250, maxDelay: 30_000 };
const NODE: Verdict = { of: "node", away: 0 };
const node = (away: number): Verdict => ({ of: "node", away });

/** Numbers from 0 to 1 that are the same for the same seed (mulberry32). */
function seeded(seed: number): () => number {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let mixed = Math.imul(seed ^ (seed >>> 15), seed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A route whose first connection is there, and to which server. */
function connected(servers: number, seed: number): [Route, number] {
  const route = new Route(servers, PAUSES, seeded(seed));
  return [route, route.rest(0) as number];
}

const sorted = (places: number[]) => [...places].sort((one, two) => one - two);

test("ten thousand clients spread over the servers at first and behind a loss", () => {
  const [first, second] = [[0, 0, 0], [0, 0, 0]];
  for (let seed = 0; seed < 10_000; seed++) {
    const [route, place] = connected(3, seed);
    first[place]!++;
    route.lost(0, NODE, true, 0);
    second[route.next(0)!.place]!++;
  }
  assert.ok(first.every((count) => count > 3_100 && count < 3_600), String(first));
  assert.equal(second[0], 0);
  assert.ok(second.slice(1).every((count) => count > 4_800 && count < 5_200), String(second));
});

test("a loss is followed by each of the others at once, and a pause only then", () => {
  for (let seed = 0; seed < 100; seed++) {
    const [route, lost] = connected(3, seed);
    route.lost(lost, NODE, true, 0);
    const tried = [lost];
    for (let at = 0; at < 2; at++) {
      const { place, pause } = route.next(0)!;
      assert.equal(pause, 0);
      assert.equal(route.isLast, at === 1);
      route.failed(place, NODE, 0);
      tried.push(place);
    }
    assert.deepEqual(sorted(tried), [0, 1, 2]);
    for (let round = 0; round < 12; round++) {
      const tried = [0, 1, 2].map((at) => {
        const { place, pause } = route.next(0)!;
        assert.ok(pause <= (at > 0 ? 0 : Math.min(250 * 2 ** round, 30_000)), `${round}, ${at}: ${pause}`);
        route.failed(place, NODE, 0);
        return place;
      });
      assert.deepEqual(sorted(tried), [0, 1, 2]);
    }
  }
});

test("servers that let in and throw out again are not hit without a pause", () => {
  for (let seed = 0; seed < 100; seed++) {
    let [route, place] = connected(3, seed);
    const pauses: number[] = [];
    for (let at = 0; at < 30; at++) {
      route.lost(place, NODE, false, 0);
      const step = route.next(0)!;
      pauses.push(step.pause);
      place = step.place;
    }
    assert.ok(pauses.reduce((sum, pause) => sum + pause, 0) > 5_000, String(pauses));
  }
});

test("one server has its own time, and the pause of the client on top", () => {
  for (let seed = 0; seed < 100; seed++) {
    const [route, place] = connected(1, seed);
    route.lost(place, node(9_000), true, 0);
    const { pause } = route.next(0)!;
    assert.ok(pause >= 9_000 && pause <= 9_250, String(pause));
    route.failed(place, NODE, pause);
    assert.ok(route.next(pause)!.pause <= 500);
  }
});

test("who is sent away moves within the time that was given, and not all at once", () => {
  const tenths = new Array<number>(10).fill(0);
  for (let seed = 0; seed < 10_000; seed++) {
    const [route, lost] = connected(3, seed);
    route.lost(lost, node(1_000), true, 0);
    const { place, pause } = route.next(0)!;
    assert.notEqual(place, lost);
    tenths[Math.min(9, Math.floor(pause / 100))]!++;
    route.failed(place, NODE, pause);
    assert.equal(route.next(pause)!.pause, 0, "whoever goes on from there goes on at once");
  }
  assert.ok(tenths.every((count) => count > 850 && count < 1_150), String(tenths));
  const [route, lost] = connected(2, 1);
  route.lost(lost, node(3_600_000), true, 0);
  assert.ok(route.next(0)!.pause <= 5_000, "nobody stays away for an hour while others are up");
});

test("a server is not tried sooner than it said, and the others are meanwhile", () => {
  for (let seed = 0; seed < 200; seed++) {
    const [route, drained] = connected(2, seed);
    let [now, tries] = [0.25, 0];
    route.lost(drained, node(60_000), true, now);
    for (;;) {
      const { place, pause } = route.next(now)!;
      now += pause;
      if (place === drained) break;
      route.failed(place, NODE, now);
      tries++;
    }
    assert.ok(now >= 60_000.25, String(now));
    assert.ok(tries > 3, String(tries));
  }
});

test("what is said to the caller holds everywhere, and then each server is tried", () => {
  for (let seed = 0; seed < 100; seed++) {
    const [route, place] = connected(3, seed);
    route.lost(place, { of: "caller", away: 9_000 }, true, 0);
    const first = route.next(0)!;
    assert.ok(first.pause >= 9_000 && first.pause <= 9_250, String(first.pause));
    const tried = [first.place];
    for (let at = 0; at < 2; at++) {
      route.failed(tried.at(-1)!, NODE, first.pause);
      const { place, pause } = route.next(first.pause)!;
      assert.equal(pause, 0);
      tried.push(place);
    }
    assert.deepEqual(sorted(tried), [0, 1, 2]);
  }
});

test("a server that nothing mends is left out until a connection has lasted", () => {
  for (let seed = 0; seed < 100; seed++) {
    const [route, struck] = connected(3, seed);
    route.failed(struck, { of: "server", away: 0 }, 0);
    for (let at = 0; at < 20; at++) {
      const { place } = route.next(0)!;
      assert.notEqual(place, struck);
      route.failed(place, NODE, 0);
    }
    route.lost(route.next(0)!.place, NODE, true, 0);
    assert.ok([route.next(0)!.place, route.next(0)!.place].includes(struck));
  }
  for (const of of ["server", "final"] as const) {
    const [route, place] = connected(1, 1);
    route.lost(place, { of, away: 0 }, true, 0);
    assert.equal(route.next(0), undefined);
  }
  const [route, place] = connected(3, 1);
  route.lost(place, { of: "final", away: 0 }, true, 0);
  assert.equal(route.next(0), undefined);
});

test("each code is about the server or about the client, as docs/protocol/reconnecting.md says", () => {
  const page = readFileSync(resolve(import.meta.dirname, "../../../docs/protocol/reconnecting.md"), "utf8");
  const [said = ""] = page.split("of the server alone: ")[1]?.split(".") ?? [];
  const ofServer = (said.match(/\d+/gu) ?? []).map(Number);
  assert.ok(ofServer.length > 5, said);
  for (const code of Object.values(Code)) {
    const of = !mayReconnect(code) ? "final" : ofServer.includes(code) ? "node" : "caller";
    assert.equal(verdictOf({ code, reason: "" }, false).of, of, String(code));
  }
});

test("a time is the server's or the client's, as the code is", () => {
  const after = (code: number, retryAfter: number, renews = false) =>
    verdictOf({ code, reason: "", retryAfter }, renews);
  assert.deepEqual(after(Code.ShuttingDown, 9), { of: "node", away: 9 });
  assert.deepEqual(after(Code.ClosedForNow, 9), { of: "caller", away: 9 });
  assert.deepEqual(after(Code.ClosedByOperator, 9), { of: "caller", away: 9 });
  assert.deepEqual(after(64_999, 9), { of: "caller", away: 9 });
  assert.equal(verdictOf({ code: 64_999, reason: "" }, false).of, "final");
  assert.equal(after(Code.ShuttingDown, 0).of, "final");
  assert.equal(after(Code.TokenExpired, 0).of, "final");
  assert.equal(after(Code.TokenExpired, 0, true).of, "caller");
  assert.equal(after(Code.TokenInvalid, 0, true).of, "final");
});

test("what failed without a word of the server's is about the server, unless it is this client's own", () => {
  const of = (error: unknown) => verdictOf(failed(error), false).of;
  assert.equal(of(new FanfareError("unreachable", "")), "node");
  assert.equal(of(new FanfareError("timeout", "")), "node");
  assert.equal(of(new FanfareError("closed", "", Code.CutOff)), "node");
  assert.equal(of(new FanfareError("closed", "", Code.UserBanned)), "final");
  assert.equal(of(new FanfareError("protocol", "", Code.MalformedFrame)), "server");
  assert.equal(of(new Error("the sign-in service is down")), "caller");
});

test("an attempt may take its part, and the last of a round all of it", () => {
  assert.equal(share(10_000, 1, true), 10_000);
  assert.equal(share(10_000, 2, false), 5_000);
  assert.equal(share(10_000, 50, false), 2_000);
  assert.equal(share(10_000, 50, true), 10_000);
  assert.equal(share(1_000, 3, false), 1_000);
});
