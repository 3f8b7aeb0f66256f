/** The client in real browsers, against a real server. */

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { after, before, describe, test } from "node:test";
import type { Browser, Page } from "puppeteer-core";

import { open, pageAt, type Kind } from "./browser.js";
import { DEADLINE, Server } from "./server.js";
import type * as Fanfare from "../src/index.js";

// What a page has; the functions given to `evaluate` run there.
declare const fanfare: typeof Fanfare;
declare const hash: string;
declare const clients: Fanfare.Client[];
declare const seen: unknown[];

/** Connects in the page, as the n-th client there, and keeps what happens in `seen`. */
async function connect(page: Page, url: string, user: string, ...groups: string[]): Promise<number> {
  return page.evaluate(
    async (url, user, groups) => {
      const reconnect = { firstDelay: 100, maxDelay: 500 };
      const client = await fanfare.connect({ url, devUser: user, serverCertificateHashes: [hash], reconnect });
      Object.assign(globalThis, { clients: [...(globalThis.clients ?? []), client], seen: globalThis.seen ?? [] });
      client.on("ReceiveMessage", (_, message) => {
        seen.push({ at: user, from: message.from, to: message.to, text: message.text() });
      });
      for (const kind of ["removed", "disconnected", "reconnected", "joined", "refused", "closed"] as const) {
        client.when(kind, (what) => void seen.push({ at: user, kind, ...what }));
      }
      for (const group of groups) await client.join(group);
      return clients.length - 1;
    },
    url, user, groups,
  );
}

declare global {
  var watch: Fanfare.Watch;
  var clients: Fanfare.Client[];
  var seen: unknown[];
}

/** What a page has seen. */
type Entry = Record<string, unknown> & { from?: { user?: string } };

/** Waits until the page's `seen` has what `wanted` finds, so often. */
async function saw(page: Page, wanted: (entry: Entry) => boolean, times = 1): Promise<void> {
  const deadline = Date.now() + DEADLINE;
  for (;;) {
    const entries = (await page.evaluate(() => seen)) as Entry[];
    if (entries.filter(wanted).length >= times) return;
    if (Date.now() > deadline) throw new Error(`never seen: ${wanted}; but ${JSON.stringify(entries).slice(0, 1500)}`);
    await new Promise((settle) => setTimeout(settle, 20));
  }
}

/** The error that connecting ends with. */
async function refusal(page: Page, options: object): Promise<{ kind: string; code: number | null; message: string }> {
  return page.evaluate(async (options) => {
    try {
      await fanfare.connect({ serverCertificateHashes: [hash], ...options } as unknown as Fanfare.ConnectOptions);
    } catch (error) {
      if (!(error instanceof fanfare.FanfareError)) throw error;
      return { kind: error.kind, code: error.code ?? null, message: error.message };
    }
    throw new Error("it connected");
  }, options);
}

for (const kind of ["chromium", "firefox"] as Kind[]) {
  describe(kind, { timeout: 240_000 }, () => {
    let server: Server;
    let browser: Browser;

    before(async () => {
      const key = `${process.env["TMPDIR"] ?? "/tmp"}/fanfare-web-${process.pid}.key`;
      writeFileSync(key, "a secret that is long enough for anybody to use", { mode: 0o600 });
      server = await Server.start("--dev", "--token-secret", key);
      browser = await open(kind);
    });

    after(async () => {
      await browser?.close();
      await server?.stop();
    });

    test("messages to a user, a group, a connection and everyone", async (t) => {
      const page = await pageAt(browser, server.http);
      t.after(() => page.close());
      await connect(page, server.url, "alice", "room");
      await connect(page, server.url, "bob", "room");
      const reached = await page.evaluate(async () => {
        const [alice, bob] = clients as [Fanfare.Client, Fanfare.Client];
        return [
          await alice.sendAcked([{ user: "bob" }], "ReceiveMessage", "to a user"),
          await alice.sendAcked([{ group: "room" }], "ReceiveMessage", "to a group", { others: true }),
          await alice.sendAcked([{ connection: bob.connectionId }], "ReceiveMessage", "to a connection"),
          await alice.sendAcked(["all"], "ReceiveMessage", "to all"),
          await alice.sendCounted([{ user: "nobody" }], "ReceiveMessage", "to nobody"),
          await alice.count({ group: "room" }),
          await alice.leave("room"),
        ];
      });
      assert.deepEqual(reached, [1, 1, 1, 2, { count: 0, silent: [] }, 2, 1]);
      for (const text of ["to a user", "to a group", "to a connection"]) {
        await saw(page, (entry) => entry["at"] === "bob" && entry["text"] === text);
      }
      await saw(page, (entry) => entry["text"] === "to all" && entry.from?.user === "alice", 2);
      const texts = await page.evaluate(() => (seen as { at: string; text?: string }[]).filter((entry) => {
        return entry.at === "alice" && entry.text !== undefined;
      }).length);
      assert.equal(texts, 1);
    });

    test("a page goes on at another server when its own stops, with its groups", async (t) => {
      const pair = [await Server.start("--dev"), await Server.start("--dev")];
      t.after(() => Promise.all(pair.map((one) => one.stop())));
      const page = await pageAt(browser, server.http);
      t.after(() => page.close());
      const hashes = await Promise.all(pair.map(async ({ http }) => {
        const hash = await (await fetch(`http://${http}/fanfare/certificate-hash`)).json();
        return (hash as { value: string }).value;
      }));
      const at = await page.evaluate(async (url, serverCertificateHashes) => {
        const client = await fanfare.connect({ url, devUser: "alice", serverCertificateHashes });
        Object.assign(globalThis, { clients: [client], seen: [] });
        client.when("reconnected", ({ rejoined, url }) => void seen.push({ rejoined: rejoined.join(), url }));
        await client.join("room");
        return client.url;
      }, pair.map(({ url }) => url), hashes);
      const [own, other] = pair[0]?.url === at ? pair : [...pair].reverse();
      assert.equal(own?.url, at);
      await own?.stop();
      await saw(page, (entry) => entry["rejoined"] === "room" && entry["url"] === other?.url);
    });

    test("promise 16: a page knows who is in a group, also over an outage", async (t) => {
      const page = await pageAt(browser, server.http);
      t.after(() => page.close());
      await connect(page, server.url, "watcher");
      await connect(page, server.url, "alice", "watched");
      await page.evaluate(async () => {
        globalThis.watch = await clients[0]!.watch("watched");
        void (async () => {
          for await (const { present, left } of globalThis.watch) seen.push({ kind: "presence", present, left });
        })();
      });
      const came = (entry: Entry, name: string) =>
        entry["kind"] === "presence" && (entry["present"] as { user: string }[]).some(({ user }) => user === name);
      await saw(page, (entry) => came(entry, "alice"));
      const native = server.begin("listen", "--json", "--user", "native", "--join", "watched", "--watch", "watched");
      await saw(page, (entry) => came(entry, "native"));
      // The native client watches, too.
      for (;;) {
        const line = JSON.parse(await native.lines.next()) as { kind: string; present?: { user: string }[] };
        if (line.kind === "presence" && line.present?.some(({ user }) => user === "alice")) break;
      }
      await native.end("SIGTERM");
      await saw(page, (entry) => entry["kind"] === "presence" && String(entry["left"]) === "native");
      await server.restart("SIGTERM");
      await saw(page, (entry) => entry["kind"] === "reconnected", 2);
      await page.evaluate(async () => {
        // She may have come back before the one who watches, or behind it.
        while (!globalThis.watch.present.some(({ user }) => user === "alice")) {
          await new Promise((settle) => setTimeout(settle, 20));
        }
        await clients[1]!.leave("watched");
      });
      await saw(page, (entry) => entry["kind"] === "presence" && String(entry["left"]) === "alice");
    });

    test("a native client and a page in one group", async (t) => {
      const page = await pageAt(browser, server.http);
      t.after(() => page.close());
      const native = server.begin("listen", "--json", "--user", "native", "--join", "mixed");
      await native.lines.next();
      assert.equal((JSON.parse(await native.lines.next()) as { group: string }).group, "mixed");
      await connect(page, server.url, "alice", "mixed");
      await page.evaluate(() => clients[0]?.sendToGroup("mixed", "ReceiveMessage", "from the page", { others: true }));
      assert.match(await native.lines.next(), /from the page/);
      await page.evaluate(() => clients[0]?.sendToGroup("mixed", "Cursor", fanfare.json({ x: 1.5 }), { others: true }));
      const { event, format, text } = JSON.parse(await native.lines.next()) as Entry;
      assert.deepEqual([event, format, text], ["Cursor", "json", '{"x":1.5}']);
      server.command("send", "--user", "back-end", "--to-group", "mixed", "from the native client");
      await saw(page, (entry) => entry["text"] === "from the native client" && entry.from?.user === "back-end");
      await native.end("SIGTERM");
    });

    test("an operator takes the group away, and the page is told why", async (t) => {
      const page = await pageAt(browser, server.http);
      t.after(() => page.close());
      await connect(page, server.url, "mallory", "secret");
      server.command("admin", "revoke", "mallory", "secret", "--reason", "left the team");
      await saw(page, (entry) => entry["kind"] === "removed" && entry["group"] === "secret");
      await saw(page, (entry) => entry["kind"] === "removed" && entry["reason"] === "left the team");
      const again = await page.evaluate(() => {
        return clients[0]?.join("secret").catch((error: Fanfare.FanfareError) => error.code);
      });
      assert.equal(again, 3103);
    });

    test("an operator closes the connection, and the page has the code and the reason", async (t) => {
      const page = await pageAt(browser, server.http);
      t.after(() => page.close());
      await connect(page, server.url, "noisy");
      server.command("admin", "kick", "--user", "noisy", "--reason", "bye for now");
      const told = (entry: Entry) => entry["code"] === 3010 && entry["reason"] === "bye for now";
      await saw(page, (entry) => entry["kind"] === "closed" && told(entry));
    });

    for (const signal of ["SIGTERM", "SIGKILL"] as const) {
      test(`a server that ends by ${signal} and comes back finds the page in its groups again`, async (t) => {
        const page = await pageAt(browser, server.http);
        t.after(() => page.close());
        await connect(page, server.url, "alice", "room");
        await server.restart(signal);
        if (signal === "SIGTERM") {
          await saw(page, (entry) => entry["kind"] === "disconnected" && entry["code"] === 1001);
        }
        await saw(page, (entry) => entry["kind"] === "reconnected" && JSON.stringify(entry["rejoined"]) === '["room"]');
        server.command("send", "--user", "back-end", "--to-group", "room", "after the outage");
        await saw(page, (entry) => entry["text"] === "after the outage");
      });
    }

    test("ten thousand messages arrive once each and in order", async (t) => {
      const page = await pageAt(browser, server.http);
      t.after(() => page.close());
      await connect(page, server.url, "alice");
      await connect(page, server.url, "bob", "many");
      const order = await page.evaluate(async () => {
        const [alice, bob] = clients as [Fanfare.Client, Fanfare.Client];
        const numbers: number[] = [];
        const all = new Promise<void>((settle) => bob.on("Number", (payload) => {
          numbers.push(new DataView(payload.buffer).getUint32(0));
          if (numbers.length === 10_000) settle();
        }));
        for (let number = 0; number < 10_000; number++) {
          const payload = new Uint8Array(64);
          new DataView(payload.buffer).setUint32(0, number);
          await alice.sendToGroup("many", "Number", payload);
        }
        await all;
        return numbers.every((number, at) => number === at);
      });
      assert.ok(order);
    });

    test("a payload of 64 KiB arrives whole, and a byte more is refused before it is sent", async (t) => {
      const page = await pageAt(browser, server.http);
      t.after(() => page.close());
      await connect(page, server.url, "alice");
      const outcome = await page.evaluate(async () => {
        const alice = clients[0] as Fanfare.Client;
        const payload = Uint8Array.from({ length: 65_536 }, (_, at) => (at * 7) % 251);
        const back = new Promise<Uint8Array>((settle) => alice.on("Big", settle));
        await alice.sendToUser("alice", "Big", payload);
        const same = (await back).every((byte, at) => byte === payload[at]);
        const tooLong = alice.sendToUser("alice", "Big", new Uint8Array(65_537));
        const more = await tooLong.catch((error: Fanfare.FanfareError) => error.message);
        return { same, length: (await back).length, more };
      });
      const more = "the payload has 65537 bytes; the server takes 65536";
      assert.deepEqual(outcome, { same: true, length: 65_536, more });
    });

    test("datagrams arrive, to pages and to native clients", async (t) => {
      const page = await pageAt(browser, server.http);
      t.after(() => page.close());
      await connect(page, server.url, "alice", "board");
      await connect(page, server.url, "bob", "board");
      const native = server.begin("listen", "--json", "--user", "native", "--join", "board");
      await native.lines.next();
      await native.lines.next();
      const outcome = await page.evaluate(async () => {
        const [alice, bob] = clients as [Fanfare.Client, Fanfare.Client];
        let got = 0;
        const arrived = new Promise<string>((settle) => {
          bob.on("Cursor", (_, message) => {
            got++;
            settle(message.text());
          });
        });
        // One may get lost, so it is said until it is heard.
        const saying = setInterval(() => alice.unreliable({ group: "board" }, "Cursor", "x", { others: true }), 20);
        const text = await arrived;
        clearInterval(saying);
        let tooLarge = "";
        try {
          alice.unreliable({ group: "board" }, "Cursor", new Uint8Array(1_100));
        } catch (error) {
          tooLarge = (error as Error).message;
        }
        return { text, got: got > 0, tooLarge };
      });
      assert.equal(outcome.text, "x");
      assert.match(outcome.tooLarge, /the message has 11\d\d bytes as a datagram; at most 1100/);
      assert.match(await native.lines.next(), /Cursor/);
      await native.end("SIGTERM");
    });

    test("a page that handles nothing is closed as a slow consumer, and the others are not slowed down", async (t) => {
      const page = await pageAt(browser, server.http);
      t.after(() => page.close());
      await connect(page, server.url, "slow", "busy");
      await connect(page, server.url, "fast", "busy");
      await connect(page, server.url, "talker");
      const outcome = await page.evaluate(async () => {
        const [slow, fast, talker] = clients as [Fanfare.Client, Fanfare.Client, Fanfare.Client];
        slow.on("Load", () => new Promise<void>(() => {}));
        let heard = 0;
        fast.on("Load", () => void heard++);
        const id = slow.connectionId;
        let sent = 0;
        const deadline = Date.now() + 60_000;
        while (slow.connectionId === id && Date.now() < deadline) {
          await talker.sendAcked([{ group: "busy" }], "Load", new Uint8Array(32_768));
          sent++;
          // The one who reads has each of them, whatever the other does.
          while (heard < sent && Date.now() < deadline) await new Promise((settle) => setTimeout(settle, 1));
        }
        return { reconnected: slow.connectionId !== id, missed: sent - heard };
      });
      assert.deepEqual(outcome, { reconnected: true, missed: 0 });
      // The handler that never ends holds back what it would be told; the server says it.
      assert.match(server.command("admin", "status"), /SlowConsumer \d/);
    });

    test("what is wrong is said", async (t) => {
      const page = await pageAt(browser, server.http);
      t.after(() => page.close());
      const serverCertificateHashes = [btoa("0".repeat(32))];
      const wrongHash = await refusal(page, { url: server.url, devUser: "alice", serverCertificateHashes });
      assert.equal(wrongHash.kind, "unreachable");
      assert.match(wrongHash.message, /its certificate is not trusted/);
      const wrongPath = await refusal(page, { url: server.url.replace("/fanfare", "/elsewhere"), devUser: "alice" });
      assert.equal(wrongPath.kind, "unreachable");
      assert.match(wrongPath.message, /the path is wrong/);
      const badToken = await refusal(page, { url: server.url, token: "no token" });
      assert.deepEqual([badToken.kind, badToken.code], ["closed", 3003]);
      const badName = await refusal(page, { url: server.url, devUser: "" });
      const badNameSays = "the user name has 0 bytes; it must have 1 to 256";
      assert.deepEqual([badName.kind, badName.message], ["argument", badNameSays]);
      const both = await refusal(page, { url: server.url, devUser: "alice", token: "x" });
      assert.equal(both.kind, "argument");
      // The same page, at an address that is not on the list.
      const elsewhere = createServer(async (request, response) => {
        const answer = await fetch(`http://${server.http}${request.url}`);
        response.setHeader("content-type", answer.headers.get("content-type") ?? "");
        response.end(Buffer.from(await answer.arrayBuffer()));
      });
      await new Promise<void>((settle) => elsewhere.listen(0, "127.0.0.2", settle));
      const { port } = elsewhere.address() as { port: number };
      const stranger = await pageAt(browser, `127.0.0.2:${port}`, server.http);
      const wrongOrigin = await refusal(stranger, { url: server.url, devUser: "alice" });
      assert.equal(wrongOrigin.kind, "unreachable");
      assert.match(wrongOrigin.message, /pages of this origin may not connect/);
      assert.match(server.command("admin", "status"), /OriginRefused 1/);
      assert.match(server.command("admin", "status"), /PathUnknown 1/);
      await stranger.close();
      elsewhere.close();
    });

    test("aborting ends it, and closing carries out what was sent", async (t) => {
      const page = await pageAt(browser, server.http);
      t.after(() => page.close());
      await connect(page, server.url, "bob");
      const outcome = await page.evaluate(async (url) => {
        const options = { url, devUser: "alice", serverCertificateHashes: [hash] };
        const aborting = fanfare.connect({ ...options, signal: AbortSignal.abort() });
        const aborted = await aborting.catch((error: Fanfare.FanfareError) => error.kind);
        const control = new AbortController();
        const one = await fanfare.connect({ ...options, signal: control.signal });
        const closed = new Promise<void>((settle) => one.when("closed", () => settle()));
        control.abort();
        await closed;
        const late = await one.join("room").catch((error: Fanfare.FanfareError) => error.kind);
        const two = await fanfare.connect(options);
        for (let number = 0; number < 100; number++) void two.sendToUser("bob", "ReceiveMessage", "last words");
        await two.close();
        const loop: string[] = [];
        for await (const message of two) loop.push(message.event);
        return { aborted, late, loop };
      }, server.url);
      assert.deepEqual(outcome, { aborted: "aborted", late: "not-connected", loop: [] });
      await saw(page, (entry) => entry["text"] === "last words", 100);
    });

    test("the loop over messages, and a handler that waits for an answer", async (t) => {
      const page = await pageAt(browser, server.http);
      t.after(() => page.close());
      await connect(page, server.url, "alice");
      const outcome = await page.evaluate(async () => {
        const alice = clients[0] as Fanfare.Client;
        const texts: string[] = [];
        const looped = (async () => {
          for await (const message of alice) {
            texts.push(message.text());
            if (texts.length === 3) break;
          }
        })();
        // It would wait for itself, if answers waited for handlers.
        const counted = new Promise<number>((settle) => {
          alice.on("Ask", async () => settle(await alice.count({ user: "alice" })));
        });
        await alice.sendToUser("alice", "Ask", "one");
        await alice.sendToUser("alice", "Other", "two");
        await alice.sendToUser("alice", "Other", "three");
        await looped;
        return { texts, counted: await counted };
      });
      assert.deepEqual(outcome, { texts: ["one", "two", "three"], counted: 1 });
    });
  });
}
