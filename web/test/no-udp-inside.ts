/**
 * The page in one browser, inside a network namespace that `no-udp.test.ts` has made: loopback alone, and either
 * nothing gets through to the server over UDP, or the browser has no WebTransport.
 *
 * In: the browser, and what it has to do without. Out: a line with how long it took, or an exit code that is not 0.
 * Invariant: the page is the one that the server serves, as it is; nothing is put into it.
 */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import type { Page } from "puppeteer-core";

import { open, until, type Kind } from "./browser.js";
import { Server } from "./server.js";

/** What there is not. */
type Lack = "udp" | "webtransport";

/** The longest that it may take to be connected, in milliseconds. */
const LONGEST = 3_000;

/** Runs a program to its end, and gives what it printed. */
function run(program: string, args: string[], input = ""): string {
  const done = spawnSync(program, args, { input, encoding: "utf8" });
  if (done.error || done.status !== 0) throw new Error(`${program} ${args.join(" ")}: ${done.error ?? done.stderr}`);
  return done.stdout;
}

/** How many of UDP's packets were dropped. */
function dropped(): number {
  return Number(/counter packets (\d+)/u.exec(run("nft", ["list", "ruleset"]))?.[1]);
}

/** Waits until somebody has entered, and gives how long the connection took that the page says it has. */
async function entered(page: Page, user: string, lack: Lack): Promise<number> {
  if (lack === "webtransport") {
    await page.evaluateOnNewDocument(() => {
      delete (globalThis as { WebTransport?: unknown }).WebTransport;
    });
  }
  await page.goto(`http://${server.http}/`);
  await until(page, () => typeof document.querySelector<HTMLFormElement>("#who")?.onsubmit === "function");
  await page.bringToFront();
  await page.type("#user", user);
  const begun = performance.now();
  await page.keyboard.press("Enter");
  await until(page, () => document.querySelector("#state")?.textContent?.includes("over websocket"));
  return performance.now() - begun;
}

const [kind, lack] = process.argv.slice(2) as [Kind, Lack];
run("ip", ["link", "set", "lo", "up"]);
const server = await Server.start("--dev");
if (lack === "udp") {
  // The clients' port alone: operators' commands go over UDP, too.
  const port = server.address.split(":").at(-1);
  const chain = `chain input {\ntype filter hook input priority 0\nudp dport ${port} counter drop\n}`;
  run("nft", ["-f", "-"], `table inet fanfare {\n${chain}\n}\n`);
}
const browser = await open(kind);
try {
  const [alice, bob] = [await browser.newPage(), await browser.newPage()];
  const took = await entered(alice, "alice", lack);
  assert.equal(await alice.evaluate(() => typeof WebTransport !== "undefined"), lack === "udp");
  // Else UDP was not what was missing.
  if (lack === "udp") assert.ok(dropped() > 0, "the browser sent nothing over UDP");
  assert.ok(took < LONGEST, `it took ${took} ms to be connected`);
  const second = await entered(bob, "bob", lack);
  for (const page of [alice, bob]) {
    await page.bringToFront();
    await page.type("#group", "lobby");
    await page.keyboard.press("Enter");
  }
  for (const [from, to, words] of [[alice, bob, "from alice"], [bob, alice, "from bob"]] as const) {
    await from.bringToFront();
    await until(from, () => document.querySelector("#list")?.textContent?.includes("lobby"));
    await from.type("#text", words);
    await from.keyboard.press("Enter");
    await until(to, (words) => document.querySelector("#log")?.textContent?.includes(words), words);
  }
  assert.equal(server.command("admin", "connections").match(/\bwebsocket\b/gu)?.length, 2);
  const [one, two] = [Math.round(took), Math.round(second)];
  console.log(`${kind} without ${lack}: connected after ${one} ms, another page after ${two} ms`);
} finally {
  await browser.close();
  await server.stop();
}
