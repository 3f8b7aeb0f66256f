/**
 * The page, unchanged, where UDP is dropped and where there is no WebTransport, in real browsers.
 *
 * In: two browsers. Out: a failure where one is not connected over a WebSocket within three seconds, or does not hear
 * the other. Each runs in a network namespace of its own (`no-udp-inside.ts`), in which nftables drops UDP in silence,
 * as firewalls do. Where there can be no namespace the test fails and says so; `FANFARE_TESTS_WITHOUT_NAMESPACE=1`
 * leaves it out.
 */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { test } from "node:test";

/** Left out on a machine where nobody may make a namespace. */
const WITHOUT = "FANFARE_TESTS_WITHOUT_NAMESPACE";

/** Root may make one by itself, others one in which they are root. */
const UNSHARE = process.getuid?.() === 0 ? ["--net"] : ["--user", "--map-root-user", "--net"];

/** Where the system's programs are, also for who is not root. */
const env = { ...process.env, PATH: `${process.env["PATH"]}:/usr/sbin:/sbin` };

/** What stands in the way of a namespace, and what to do; `undefined` where nothing does. */
function obstacle(): string | undefined {
  for (const [program, args, from] of [
    ["unshare", [...UNSHARE, "true"], "util-linux, and the right to make a namespace"],
    ["ip", ["-Version"], "iproute2"],
    ["nft", ["--version"], "nftables"],
  ] as const) {
    const done = spawnSync(program, args, { env, encoding: "utf8" });
    if (done.error || done.status !== 0) {
      return `this test needs ${from} (${program}: ${done.error ?? done.stderr}); run tests/tools, or set ${WITHOUT}=1`;
    }
  }
  return undefined;
}

const skip = process.env[WITHOUT] === "1" ? `NOT TESTED: ${WITHOUT} is set` : false;

for (const kind of ["chromium", "firefox"]) {
  for (const lack of ["udp", "webtransport"]) {
    test(`the page works in ${kind} without ${lack}`, { skip, timeout: 120_000 }, (context) => {
      assert.equal(obstacle(), undefined);
      const inside = [process.execPath, join(import.meta.dirname, "no-udp-inside.js"), kind, lack];
      const done = spawnSync("unshare", [...UNSHARE, ...inside], { env, encoding: "utf8", timeout: 110_000 });
      assert.equal(done.status, 0, `${done.stdout}\n${done.stderr}`);
      context.diagnostic(done.stdout.trim());
    });
  }
}
