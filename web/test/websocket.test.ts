/** The client over a WebSocket, in real browsers, against a real server: where WebTransport is missing or cut off. */

import assert from "node:assert/strict";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { after, before, describe, test } from "node:test";
import type { Browser } from "puppeteer-core";

import { enter, open, pageAt, type Kind, until } from "./browser.js";
import { Server } from "./server.js";
import type * as Fanfare from "../src/index.js";

// What a page has; the functions given to `evaluate` run there.
declare const fanfare: typeof Fanfare;
declare const hash: string;

declare global {
  var client: Fanfare.Client;
  var seen: unknown[];
}

for (const kind of ["chromium", "firefox"] as Kind[]) {
  describe(`websocket in ${kind}`, { timeout: 240_000 }, () => {
    let server: Server;
    let browser: Browser;

    before(async () => {
      server = await Server.start("--dev");
      browser = await open(kind);
    });

    after(async () => {
      await browser?.close();
      await server?.stop();
    });

    test("the page works where there is no WebTransport, and the two ways understand each other", async () => {
      const [one, two] = [await browser.newPage(), await browser.newPage()];
      await one.evaluateOnNewDocument(() => {
        delete (globalThis as { WebTransport?: unknown }).WebTransport;
      });
      for (const [page, user] of [[one, "alice"], [two, "bob"]] as const) {
        await enter(page, server.http, user, "lobby");
      }
      for (const [page, way] of [[one, "over websocket"], [two, "over webtransport"]] as const) {
        await until(page, (way) => document.querySelector("#state")?.textContent?.includes(way), way);
      }
      for (const [from, to, words] of [[one, two, "from the WebSocket"], [two, one, "to the WebSocket"]] as const) {
        await from.bringToFront();
        await from.type("#text", words);
        await from.keyboard.press("Enter");
        await until(to, (words) => document.querySelector("#log")?.textContent?.includes(words), words);
      }
      await one.bringToFront();
      await one.focus("#board");
      for (let step = 0; step < 8; step++) await one.keyboard.press("ArrowLeft");
      await until(two, () => document.querySelector("#board span:not(.own)")?.textContent === "alice");
      server.command("admin", "revoke", "alice", "lobby", "--reason", "too loud");
      await until(one, () => document.querySelector("#log")?.textContent?.includes("removed from lobby: too loud"));
      server.command("admin", "restore", "alice", "lobby");
      assert.match(server.command("admin", "connections"), /websocket/u);
      await one.close();
      await two.close();
    });

    test("where UDP is dropped the client goes over the WebSocket by itself, and is told how it ends", async () => {
      // It takes packets, and answers none.
      const silence = createSocket("udp4").bind(0, "127.0.0.1");
      await once(silence, "listening");
      const page = await pageAt(browser, server.http);
      const websocketUrl = `ws://${server.http}/fanfare`;
      const transport = await page.evaluate(async (url, websocketUrl) => {
        globalThis.seen = [];
        const options = { url, websocketUrl, devUser: "carol", serverCertificateHashes: [hash] };
        globalThis.client = await fanfare.connect(options);
        client.when("disconnected", ({ code }) => void seen.push(["disconnected", code]));
        client.when("reconnected", ({ transport }) => void seen.push(["reconnected", transport]));
        client.when("closed", ({ code }) => void seen.push(["closed", code]));
        client.on("Long", (payload) => void seen.push(["long", payload.length]));
        return client.transport;
      }, `https://127.0.0.1:${silence.address().port}/fanfare`, websocketUrl);
      assert.equal(transport, "websocket");
      const happened = async (wanted: string) => until(page, (wanted) => JSON.stringify(seen).includes(wanted), wanted);
      // Longer than a WebSocket's message may be.
      await page.evaluate(async () => client.sendToUser("carol", "Long", new Uint8Array(65_536)));
      await happened('["long",65536]');
      server.command("admin", "close", "--user", "carol", "--for", "10ms", "--reason", "for a moment");
      await happened('["disconnected",3016]');
      await happened('["reconnected","websocket"]');
      await server.restart("SIGTERM");
      await happened('["disconnected",1001]');
      await until(page, () => client.connected);
      server.command("admin", "ban", "carol", "--reason", "enough");
      await happened('["closed",3009]');
      server.command("admin", "unban", "carol");
      await page.close();
      silence.close();
    });
  });
}
