/**
 * SignalR's own client, `@microsoft/signalr`, as it is: each case in JSON and in MessagePack, under Node and in both
 * browsers, from pages of another origin.
 */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { Browser, Page } from "puppeteer-core";

import { open, type Kind } from "./browser.js";
import { CASES, run } from "./signalr-cases.js";
import type { Encoding } from "./signalr-scene.js";
import { runIn, Stage } from "./signalr-stage.js";

const ENCODINGS: readonly Encoding[] = ["json", "messagepack"];

/** What a page of the site has. */
declare const cases: typeof import("./signalr-cases.js");

let stage: Stage;

before(async () => {
  stage = await Stage.start();
});

after(async () => {
  await stage?.stop();
});

for (const encoding of ENCODINGS) {
  describe(`SignalR's client in ${encoding} under Node`, { timeout: 600_000 }, () => {
    for (const { name } of CASES) test(name, () => run(name, stage.world(`node ${encoding}`, encoding)));
  });
}

for (const kind of ["chromium", "firefox"] as Kind[]) {
  describe(`SignalR's client in ${kind}`, { timeout: 1_200_000 }, () => {
    let browser: Browser;
    let page: Page;

    before(async () => {
      browser = await open(kind);
      page = await stage.page(browser);
    });

    after(async () => {
      await browser?.close();
    });

    for (const encoding of ENCODINGS) {
      describe(encoding, () => {
        for (const { name } of CASES) test(name, () => runIn(page, name, stage.world(`${kind} ${encoding}`, encoding)));
      });
    }

    test("a page's client of Fanfare's own and those of SignalR's understand each other", async () => {
      const { dev } = stage;
      const hash = await (await fetch(`http://${dev.http}/fanfare/certificate-hash`)).json() as { value: string };
      const found = await page.evaluate(async (url, hash, signalr, room) => {
        const { fanfare, Scene, until } = cases;
        const urls = { dev: signalr, everything: "", tokens: "", brief: "" };
        const scene = new Scene({ tag: room, encoding: "json", urls, ask: async () => "" });
        const [json, pack] = [
          await scene.connect("dev", { user: "json", encoding: "json", hear: ["E"] }),
          await scene.connect("dev", { user: "pack", encoding: "messagepack", hear: ["E"] }),
        ];
        const alice = await fanfare.connect({ url, devUser: "alice", serverCertificateHashes: [hash] });
        const heard: unknown[] = [];
        alice.on("E", (payload, { from, format }) => {
          const user = typeof from === "string" ? from : from.user;
          heard.push([user, format, [...payload].map((byte) => String.fromCharCode(byte)).join("")]);
        });
        await alice.join(room);
        for (const { hub } of [json, pack]) await hub.invoke("JoinGroup", room);
        await json.hub.invoke("SendToOthersInGroup", room, "E", "a", { b: 1 });
        await pack.hub.invoke("SendToOthersInGroup", room, "E", "a");
        for (const payload of ["text", fanfare.json(["b", [1.5]]), fanfare.json({ c: null }), Uint8Array.of(1, 2)]) {
          await alice.sendToGroup(room, "E", payload, { others: true });
        }
        await until("all is heard", () => heard.length === 2 && json.heard.length === 5 && pack.heard.length === 5);
        await alice.close();
        await scene.end();
        const bytes = pack.of("E").pop()?.[0] as Uint8Array;
        return { heard, json: json.of("E"), pack: pack.of("E").slice(0, -1), bytes: [...bytes] };
      }, dev.url, hash.value, dev.signalr, `${kind} mixed`);
      const json = `${kind} mixed-json`;
      assert.deepEqual(found.heard, [[json, "json", '["a",{"b":1}]'], [`${kind} mixed-pack`, "msgpack", "\x91\xa1a"]]);
      const said = [["text"], ["b", [1.5]], [{ c: null }]];
      assert.deepEqual(found.json, [["a"], ...said, ["AQI="]]);
      assert.deepEqual(found.pack, [["a", { b: 1 }], ...said]);
      assert.deepEqual(found.bytes, [1, 2]);
    });

    test("a page of an origin that is not listed gets nothing", async () => {
      const stranger = await stage.page(browser, "127.0.0.2");
      const errors = await stranger.evaluate(async (url) => {
        // Whether the answer may be read, and whether a WebSocket opens.
        const negotiated = await fetch(`${url}/negotiate?negotiateVersion=1`, { method: "POST" }).then(
          () => "answered", () => "refused",
        );
        const socket = new WebSocket(`${url.replace("http", "ws")}?user=mallory`);
        const opened = await new Promise((settle) => {
          socket.onopen = () => settle("open");
          socket.onerror = () => settle("refused");
        });
        return [negotiated, opened];
      }, stage.urls.dev);
      assert.deepEqual(errors, ["refused", "refused"]);
      await stranger.close();
    });
  });
}

test("neither the server's log, which says much, nor what operators see has a token in it", () => {
  const { guarded } = stage;
  assert.ok(stage.tokens.length > 0, "tokens were used");
  const seen = ["status", "connections", "audit"].map((what) => guarded.command("admin", what, "--json"));
  const places = [guarded.log, ...seen];
  assert.match(stage.guarded.log, /signalr/u);
  for (const token of stage.tokens) {
    // Neither the whole nor what makes it valid.
    const signature = token.slice(token.lastIndexOf(".") + 1);
    for (const place of places) assert.ok(!place.includes(signature), `a token is in ${place.slice(0, 200)}...`);
  }
});
