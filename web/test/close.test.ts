/**
 * Each close has its code, in browsers: six reasons times four states of the connection (tests/tests/close.rs has them
 * for native clients).
 *
 * Where nothing is read for ever, and for what the client never says, the page uses WebTransport itself.
 */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { Browser, Page } from "puppeteer-core";

import { open, pageAt, type Kind } from "./browser.js";
import { Lossy } from "./lossy.js";
import { DEADLINE, Server } from "./server.js";
import type * as Fanfare from "../src/index.js";

declare const fanfare: typeof Fanfare;
declare const hash: string;

const REASONS = { kicked: 3010, banned: 3009, "signed out": 3015, drained: 1001, malformed: 2001, slow: 4007 } as const;
type Reason = keyof typeof REASONS;
const STATES = ["idle", "queue full", "blocked", "lossy"] as const;

/** What a page keeps between two evaluations. */
declare global {
  var told: Promise<number | string | null>;
  var letGo: () => void;
  var garble: () => Promise<void>;
}

/** Connects with the client. Its handler takes messages at once, or not before `letGo`. */
async function client(page: Page, url: string, reads: boolean): Promise<void> {
  return page.evaluate(async (url, reads) => {
    const alice = await fanfare.connect({ url, devUser: "alice", serverCertificateHashes: [hash], reconnect: false });
    const gate = reads ? Promise.resolve() : new Promise<void>((settle) => (globalThis.letGo = settle));
    alice.on("E", () => gate);
    globalThis.told = new Promise((settle) => alice.when("closed", ({ code, reason }) => settle(code ?? reason)));
  }, url, reads);
}

/**
 * Connects without the client. What it is told is the code of the close, or else of `Goodbye` or of the stream's end;
 * where it never reads, of the close alone.
 */
async function bare(page: Page, url: string, reads: boolean): Promise<void> {
  return page.evaluate(async (url, reads) => {
    const value = Uint8Array.from(atob(hash), (character) => character.charCodeAt(0));
    const transport = new WebTransport(url, { serverCertificateHashes: [{ algorithm: "sha-256", value }] });
    await transport.ready;
    const stream = await transport.createBidirectionalStream();
    const writer = stream.writable.getWriter();
    await writer.write(Uint8Array.of(10, 0, 0, 0, 0, 1, 0, 1, 5, ...new TextEncoder().encode("alice")));
    const reader = stream.readable.getReader();
    await reader.read();
    globalThis.garble = () => writer.write(Uint8Array.of(1, 0, 0, 0, 255));
    let word: number | undefined;
    globalThis.letGo = () => {
      void (async () => {
        let last = new Uint8Array();
        try {
          for (;;) {
            const { value, done } = await reader.read();
            if (done) break;
            last = Uint8Array.from([...last, ...value].slice(-200));
          }
          // `Goodbye` ends it: its kind, the code as a number above 250, a text.
          for (let at = 0; at + 4 < last.length; at++) {
            if (last[at] === 6 && last[at + 1] === 251) word = (last[at + 2] ?? 0) | ((last[at + 3] ?? 0) << 8);
          }
        } catch (error) {
          word = (error as { streamErrorCode?: number }).streamErrorCode;
        }
      })();
    };
    if (reads) globalThis.letGo();
    globalThis.told = transport.closed.then(
      (info) => info.closeCode || word || "closed without a code",
      (error: unknown) => word ?? String(error),
    );
  }, url, reads);
}

/** Sends 64 KiB each, so often, or until nobody gets them. */
async function send(page: Page, url: string, times: number, until: "sent" | "gone"): Promise<void> {
  await page.evaluate(async (url, times, until) => {
    const bob = await fanfare.connect({ url, devUser: "bob", serverCertificateHashes: [hash] });
    const payload = new Uint8Array(64 * 1024);
    for (let number = 0; number < times; number++) {
      if ((await bob.sendAcked([{ user: "alice" }], "E", payload)) === 0) {
        if (until === "gone") break;
        throw new Error("it was closed too early");
      }
    }
    await bob.close();
  }, url, times, until);
}

/** Many times what QUIC takes of it, in either browser. */
const WAITING = 512;

for (const kind of ["chromium", "firefox"] as Kind[]) {
  describe(`closes in ${kind}`, { timeout: 600_000 }, () => {
    let server: Server;
    let browser: Browser;

    before(async () => {
      server = await Server.start("--dev", "--outbox-bytes=67108864", "--requests-per-second=0", "--drain-deadline=3s");
      browser = await open(kind);
    });

    after(async () => {
      await browser?.close();
      await server?.stop();
    });

    for (const reason of Object.keys(REASONS) as Reason[]) {
      for (const state of STATES) {
        test(`${reason}, ${state}`, async (t) => {
          const [page, others] = [await pageAt(browser, server.http), await pageAt(browser, server.http)];
          const way = state === "lossy" ? await Lossy.to(server.address, 0.03, 7) : undefined;
          t.after(async () => {
            await Promise.all([page.close(), others.close()]);
            way?.close();
          });
          const url = way ? `https://${way.address}/fanfare` : server.url;
          const reads = (state === "idle" || state === "lossy") && reason !== "slow";
          const connect = state === "blocked" || reason === "malformed" ? bare : client;
          await connect(page, url, reads);
          if (reason === "slow") await send(others, server.url, 4 * WAITING, "gone");
          else if (state === "lossy") await send(others, server.url, 32, "sent");
          else if (state !== "idle") await send(others, server.url, WAITING, "sent");

          let stopping: Promise<void> | undefined;
          if (reason === "kicked") server.command("admin", "kick", "--user", "alice", "--reason", "out");
          else if (reason === "banned") server.command("admin", "ban", "alice", "--reason", "out");
          else if (reason === "signed out") server.command("admin", "sign-out", "alice");
          else if (reason === "drained") stopping = server.restart("SIGTERM");
          else if (reason === "malformed") await page.evaluate(() => garble());
          if (!reads && state !== "blocked") await page.evaluate(() => letGo());

          const heard = await page.evaluate(
            (deadline) => Promise.race([told, new Promise((settle) => setTimeout(() => settle("nothing"), deadline))]),
            DEADLINE,
          );
          await stopping;
          if (reason === "banned") server.command("admin", "unban", "alice");
          if (reason === "signed out") server.command("admin", "lift-sign-out", "alice");
          assert.equal(heard, REASONS[reason]);
        });
      }
    }
  });
}
