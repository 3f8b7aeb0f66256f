/** The page of a development server, in real browsers, against a real server. */

import assert from "node:assert/strict";
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
}

/** Whether the page's last line ends with this. */
const endsWith = (shown: string) => document.querySelector("#log li:last-child")?.textContent?.endsWith(shown);

for (const kind of ["chromium", "firefox"] as Kind[]) {
  describe(`page in ${kind}`, { timeout: 240_000 }, () => {
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

    test("two people talk, see each other's cursors, and one is removed and closed", async () => {
      const [one, two] = [await browser.newPage(), await browser.newPage()];
      for (const [page, user] of [[one, "alice"], [two, "bob"]] as const) {
        await enter(page, server.http, user, "lobby");
      }
      await until(one, () => document.querySelector("#list")?.textContent?.includes("2 here"));
      // Each sees who is there, by name, and hears who comes and goes.
      const names = () => [...document.querySelectorAll("#list .here li")].map((item) => item.textContent).join();
      await until(one, () => document.querySelector("#log")?.textContent?.includes("bob came to lobby"));
      for (const page of [one, two]) assert.equal(await page.evaluate(names), "alice,bob");
      // A tab behind another takes no keys and draws no frames.
      await one.bringToFront();
      await one.type("#text", "hello <b>bob</b>");
      await one.keyboard.press("Enter");
      await until(two, () => document.querySelector("#log")?.textContent?.includes("hello <b>bob</b>"));
      await one.focus("#board");
      for (let step = 0; step < 8; step++) await one.keyboard.press("ArrowLeft");
      await until(two, () => document.querySelector("#board span:not(.own)")?.textContent === "alice");
      // Names that would look the same, or move what stands beside them, do neither.
      for (const [event, name] of ["a b", "a  b", "cafe\u0301", "\u05d0\u05d1"].entries()) {
        server.command("send", "--user", name, "--to-user", "bob", `number ${event}`);
      }
      await until(two, () => document.querySelector("#log")?.textContent?.includes("number 3"));
      const senders = await two.evaluate(() => {
        return [...document.querySelectorAll<HTMLElement>("#log li b bdi")].map((name) => name.innerText);
      });
      assert.deepEqual(senders.slice(-4), ["a b", "a \\u{20}b", "cafe\\u{301}", "\u05d0\u05d1"]);
      // Each payload by what it says that it is, as it was received.
      const json = '{ "a": [1, "<b>"],  "n": 9007199254740993, "a": 1.0 }';
      for (const [format, text, shown] of [
        ["json", json, json],
        ["binary", "hi", "(2 bytes: 68 69)"],
        ["msgpack", "7", "(1 byte of MessagePack: 37)"],
      ] as const) {
        server.command("send", "--user", "eve", "--to-user", "bob", "--format", format, text);
        await until(two, endsWith, shown);
      }
      const eve = await pageAt(browser, server.http);
      await eve.evaluate(async (url) => {
        globalThis.client = await fanfare.connect({ url, devUser: "eve", serverCertificateHashes: [hash] });
      }, server.url);
      for (const [format, hex, shown] of [
        ["text", "68ff", "(2 bytes of text, not UTF-8: 68 ff)"],
        ["json", "22ff22", "(3 bytes of JSON, not UTF-8: 22 ff 22)"],
        ["json", "7b6e6f", "{no"],
        ["text", "efbbbf6869", "\ufeffhi"],
      ] as const) {
        await eve.evaluate(async (format, hex) => {
          const bytes = Uint8Array.from(hex.match(/../g) ?? [], (byte) => parseInt(byte, 16));
          await client.sendToUser("bob", "ReceiveMessage", { format, bytes });
        }, format, hex);
        await until(two, endsWith, shown);
      }
      await eve.close();
      server.command("admin", "revoke", "bob", "lobby", "--reason", "too loud");
      await until(two, () => document.querySelector("#log")?.textContent?.includes("removed from lobby: too loud"));
      server.command("admin", "restore", "bob", "lobby");
      // Who was sent away does not come back by itself, but by a button, and to the groups from before.
      server.command("admin", "kick", "--user", "alice", "--reason", "bye for now");
      await until(one, () => document.querySelector("#again:not([hidden])") !== null);
      await one.bringToFront();
      await one.click("#again");
      await until(one, () => document.querySelector("#state.live") !== null);
      await until(one, () => document.querySelector("#list")?.textContent?.includes("lobby"));
      await one.type("#text", "back again");
      await one.keyboard.press("Enter");
      await until(one, endsWith, "back again");
      for (const [name, width, height] of [["wide", 1100, 760], ["phone", 390, 844]] as const) {
        // Debian's Firefox does not know the last command of it, which turns the screen; the size is set by then.
        await two.setViewport({ width, height }).catch((error: Error) => {
          if (!error.message.includes("setScreenOrientationOverride")) throw error;
        });
        await until(two, (width) => window.innerWidth === Number(width), String(width));
        await two.bringToFront();
        const over = await two.evaluate(() => {
          return document.documentElement.scrollWidth - document.documentElement.clientWidth;
        });
        assert.ok(over <= 0, `${name}: ${over} pixels too wide`);
        const screenshots = process.env["FANFARE_SCREENSHOTS"];
        if (screenshots) await two.screenshot({ path: `${screenshots}/page-${kind}-${name}.png` });
      }
      await Promise.all([one.close(), two.close()]);
    });
  });
}
