/** SignalR's client as programs have it: the README's script beside a page, and one over TLS with a token. */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { test } from "node:test";

import { enter, open, until } from "./browser.js";
import { Process, Server } from "./server.js";
import { until as eventually } from "./signalr-scene.js";

const ROOT = resolve(import.meta.dirname, "../../..");
const SCRIPT = join(ROOT, "examples/signalr.mjs");

/** A directory in which the client is installed, as `npm install` in an empty one would leave it. */
function place(name: string): string {
  const place = join(ROOT, "web/build", name);
  rmSync(place, { recursive: true, force: true });
  mkdirSync(place, { recursive: true });
  return place;
}

test("the README's script joins a group, and hears what the page sends", { timeout: 120_000 }, async () => {
  const script = readFileSync(SCRIPT, "utf8");
  assert.ok(script.trim().split("\n").length <= 12, "twelve lines");
  const readme = readFileSync(join(ROOT, "README.md"), "utf8");
  assert.ok(readme.includes(`\`\`\`js\n${script}\`\`\``), "the README shows examples/signalr.mjs as it is");
  const copy = join(place("script"), "lobby.mjs");
  copyFileSync(SCRIPT, copy);

  const server = await Server.start("--dev");
  const browser = await open("chromium");
  let running: Process | undefined;
  try {
    const page = await browser.newPage();
    await enter(page, server.http, "alice", "lobby");
    running = new Process(spawn(process.execPath, [copy, server.signalr], { stdio: ["ignore", "pipe", "pipe"] }));
    assert.equal(await running.lines.next(), "in the lobby, with 1 others", running.errors);
    await until(page, () => document.querySelector("#log")?.textContent?.includes("Hello from SignalR"));
    await page.type("#text", "hello from the page");
    await page.keyboard.press("Enter");
    assert.equal(await running.lines.next(), "hello from the page");
    // It comes back by itself, and joins again.
    await server.restart("SIGTERM");
    const isBack = (): boolean => {
      try {
        return server.command("admin", "members", "lobby").includes("carol");
      } catch {
        // Nobody is, so that there is no group.
        return false;
      }
    };
    await eventually("it is back", isBack);
    server.command("admin", "revoke", "carol", "lobby", "--reason", "enough for today");
    assert.equal(await running.lines.next(), "removed from lobby: enough for today");
  } finally {
    await running?.end("SIGKILL");
    await browser.close();
    await server.stop();
  }
});

test("a client with a token connects over TLS", { timeout: 60_000 }, async () => {
  const home = place("tls");
  const secret = join(home, "secret");
  writeFileSync(secret, "a secret that is long enough for anybody to use", { mode: 0o600 });
  writeFileSync(join(home, "client.mjs"), `
    import { HttpTransportType, HubConnectionBuilder } from "@microsoft/signalr";
    import { MessagePackHubProtocol } from "@microsoft/signalr-protocol-msgpack";
    const [url, token] = process.argv.slice(2);
    const direct = { skipNegotiation: true, transport: HttpTransportType.WebSockets };
    for (const [room, more] of [["negotiated", {}], ["direct", direct]]) {
      const builder = new HubConnectionBuilder().withUrl(url, { accessTokenFactory: () => token, ...more });
      const hub = builder.withHubProtocol(new MessagePackHubProtocol()).configureLogging("none").build();
      await hub.start();
      console.log(await hub.invoke("JoinGroup", room), room);
      await hub.stop();
    }
  `);
  const server = await Server.start("--dev", "--web-listen=127.0.0.1:0", "--token-secret", secret);
  try {
    assert.match(server.signalr, /^https:/u);
    const token = server.command("token", "--secret", secret, "--user", "alice", "--join", "*").trim();
    const env = { ...process.env, NODE_EXTRA_CA_CERTS: join(server.state, "ca.pem") };
    const arguments_ = [join(home, "client.mjs"), server.signalr, token];
    const running = new Process(spawn(process.execPath, arguments_, { env, stdio: ["ignore", "pipe", "pipe"] }));
    for (const room of ["negotiated", "direct"]) {
      assert.equal(await running.lines.next().catch(() => running.errors), `1 ${room}`);
    }
    await running.end("SIGTERM");
  } finally {
    await server.stop();
  }
});
