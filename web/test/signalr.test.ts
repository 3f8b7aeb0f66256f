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

let stage: Stage;

before(async () => {
  stage = await Stage.start();
});

after(async () => {
  await stage?.stop();
});

for (const encoding of ENCODINGS) {
  describe(`SignalR's client in ${encoding} under Node`, { timeout: 300_000 }, () => {
    for (const { name } of CASES) test(name, () => run(name, stage.world(`node ${encoding}`, encoding)));
  });
}

for (const kind of ["chromium", "firefox"] as Kind[]) {
  describe(`SignalR's client in ${kind}`, { timeout: 600_000 }, () => {
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
