/**
 * The sample of SignalR's documentation, examples/chat.rs, method by method, from SignalR's clients and from Fanfare's
 * own in one group.
 */

import assert from "node:assert/strict";
import { test } from "node:test";

import { open, pageAt } from "./browser.js";
import { Example } from "./example.js";
import { Server } from "./server.js";
import { Scene, until } from "./signalr-scene.js";
import type * as Fanfare from "../src/index.js";

declare const fanfare: typeof Fanfare;

declare global {
  var client: Fanfare.Client;
  var seen: unknown[];
}

test("clients of three kinds hear each other in one group", { timeout: 120_000 }, async () => {
  const [chat, server, browser] = await Promise.all([Example.start("chat"), Server.start("--dev"), open("chromium")]);
  const urls = { dev: "", everything: chat.said("signalr"), tokens: "", brief: "" };
  const scene = new Scene({ tag: "sample", encoding: "json", urls, ask: async () => "" });
  try {
    const hear = ["Send", "ReceiveMessage"];
    const json = await scene.connect("everything", { user: "json", encoding: "json", hear });
    const pack = await scene.connect("everything", { user: "pack", encoding: "messagepack", hear });
    // Only for a page to be in; the client in it connects to the sample.
    const page = await pageAt(browser, server.http);
    const own = await page.evaluate(async (url, pinned) => {
      globalThis.seen = [];
      globalThis.client = await fanfare.connect({ url, devUser: "own", serverCertificateHashes: [pinned] });
      for (const event of ["Send", "ReceiveMessage"]) {
        client.on(event, (_, message) => void seen.push([event, message.text()]));
      }
      await client.invoke("AddToGroup", "room");
      return client.connectionId;
    }, chat.url, chat.hash);
    for (const { hub } of [json, pack]) await hub.invoke("AddToGroup", "room");
    const joined = (id: string) => ["Send", `${id} has joined the group room.`];
    const said = (text: string) => ["ReceiveMessage", text];

    await json.hub.invoke("SendPrivateMessage", pack.name, "from JSON");
    await pack.hub.invoke("SendPrivateMessage", "own", "from MessagePack");
    await page.evaluate((user) => client.invoke("SendPrivateMessage", user, "from Fanfare's own"), json.name);
    await pack.hub.invoke("RemoveFromGroup", "room");
    const left = ["Send", `${pack.id} has left the group room.`];

    await until("all is heard", async () => {
      const heard = await page.evaluate(() => seen.length);
      return json.heard.length === 4 && pack.heard.length === 2 && heard === 5;
    });
    assert.deepEqual(json.heard, [joined(json.id), joined(pack.id), said("from Fanfare's own"), left]);
    assert.deepEqual(pack.heard, [joined(pack.id), said("from JSON")]);
    const heard = await page.evaluate(() => seen);
    assert.deepEqual(heard, [joined(own), joined(json.id), joined(pack.id), said("from MessagePack"), left]);
  } finally {
    await scene.end();
    await browser.close();
    await Promise.all([chat.stop(), server.stop()]);
  }
});
