/** Pages call the methods of a real application: examples/chat.rs, in both browsers. */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { Browser } from "puppeteer-core";

import { enter, open, pageAt, until, type Kind } from "./browser.js";
import { Example } from "./example.js";
import { Server } from "./server.js";
import type * as Fanfare from "../src/index.js";

declare const fanfare: typeof Fanfare;
declare const hash: string;

for (const kind of ["chromium", "firefox"] as Kind[]) {
  describe(`an application in ${kind}`, { timeout: 120_000 }, () => {
    let [chat, server, browser]: [Example?, Server?, Browser?] = [];

    before(async () => {
      [chat, server, browser] = await Promise.all([Example.start("chat"), Server.start("--dev"), open(kind)]);
    });

    after(async () => {
      await browser?.close();
      await Promise.all([chat?.stop(), server?.stop()]);
    });

    test("the sample does what the document says, and errors are told as they were meant", async () => {
      assert.ok(chat && server && browser);
      const page = await pageAt(browser, server.http);
      const found = await page.evaluate(async (url, pinned) => {
        const at = (devUser: string) => fanfare.connect({ url, devUser, serverCertificateHashes: [pinned] });
        const [alice, bob] = [await at("alice"), await at("bob")];
        const told: string[] = [];
        let more: () => void = () => {};
        for (const [name, client] of [["alice", alice], ["bob", bob]] as const) {
          for (const event of ["Send", "ReceiveMessage"]) {
            client.on(event, (_, message) => {
              told.push(`${name}: ${message.text().replace(alice.connectionId, "A").replace(bob.connectionId, "B")}`);
              more();
            });
          }
        }
        const until = async (count: number) => {
          while (told.length < count) await new Promise<void>((settle) => (more = settle));
        };
        const values: unknown[] = [await bob.invoke("AddToGroup", "room")];
        await until(1);
        values.push(await alice.invoke("AddToGroup", "room"));
        await until(3);
        values.push(await alice.invoke("SendPrivateMessage", "bob", "psst"));
        await until(4);
        await bob.call({ method: "RemoveFromGroup", args: ["room"] });
        await until(5);
        const failure = (call: Promise<unknown>) =>
          call.then(() => ["done"], ({ kind, code }: Fanfare.FanfareError) => [kind, code ?? null]);
        const failures = [
          await failure(alice.invoke("addToGroup", "room")),
          await failure(alice.invoke("AddToGroup", 7)),
          await failure(alice.stream("RemoveFromGroup", "other").next()),
        ];
        await Promise.all([alice.close(), bob.close()]);
        return { values: values.map((value) => value === undefined), told, failures };
      }, chat.url, chat.hash);
      assert.deepEqual(found.values, [true, true, true]);
      const [first, second, third, ...others] = found.told;
      assert.equal(first, "bob: B has joined the group room.");
      const joined = ["alice: A has joined the group room.", "bob: A has joined the group room."];
      assert.deepEqual([second, third].sort(), joined);
      assert.deepEqual(others, ["bob: psst", "alice: B has left the group room."]);
      assert.deepEqual(found.failures, [["refused", 2201], ["failed", 2202], ["failed", 2205]]);
    });

    test("its page calls methods and shows what they give, or why not", async () => {
      assert.ok(chat && server && browser);
      const page = await browser.newPage();
      await enter(page, new URL(chat.said("signalr")).host, "alice", "lobby");
      await until(page, () => document.querySelector("#calls:not([hidden])") !== null);
      for (const [method, given, shown] of [
        ["AddToGroup", '"room"', 'called AddToGroup("room")'],
        ["Nothing", "", "Nothing(): there is no method"],
        ["AddToGroup", "7", "(code 2202, ArgumentsInvalid)"],
        ["AddToGroup", "7,", "AddToGroup(7,): "],
      ] as const) {
        await page.$eval("#method", (input, text) => void ((input as HTMLInputElement).value = text), method);
        await page.$eval("#arguments", (input, text) => void ((input as HTMLInputElement).value = text), given);
        await page.focus("#arguments");
        await page.keyboard.press("Enter");
        await until(page, (shown) => document.querySelector("#log")?.textContent?.includes(shown), shown);
      }
      const other = await browser.newPage();
      await enter(other, server.http, "bob", "lobby");
      assert.ok(await other.$eval("#calls", (section) => (section as HTMLElement).hidden));
      await Promise.all([page.close(), other.close()]);
    });

    test("a server without an application says so before anything is sent", async () => {
      assert.ok(server && browser);
      const page = await pageAt(browser, server.http);
      const kind = await page.evaluate(async (url) => {
        const alice = await fanfare.connect({ url, devUser: "alice", serverCertificateHashes: [hash] });
        const kind = await alice.invoke("Any").then(() => "done", (error: Fanfare.FanfareError) => error.kind);
        await alice.close();
        return kind;
      }, server.url);
      assert.equal(kind, "unsupported");
    });
  });
}
