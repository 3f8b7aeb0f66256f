/** The README's examples, as they stand there: they compile, and they run; the first in a browser. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { test } from "node:test";

import { connect, type Client } from "../src/client.js";
import { open, pageAt } from "./browser.js";
import { Server } from "./server.js";
import { sessions, type Session } from "./session.js";

const WEB = resolve(import.meta.dirname, "../..");
const EXAMPLES = [...readFileSync(resolve(WEB, "README.md"), "utf8").matchAll(/```ts\n([^]*?)```/g)];

/** Compiles an example, and gives the directory in which it is `out/example.js`. */
function compiled(name: string, example: string): string {
  const place = resolve(WEB, "build", name);
  rmSync(place, { recursive: true, force: true });
  mkdirSync(place, { recursive: true });
  writeFileSync(resolve(place, "example.ts"), example);
  const compilerOptions = { rootDir: ".", outDir: "out" };
  const settings = { extends: "../../tsconfig.json", include: ["."], compilerOptions };
  writeFileSync(resolve(place, "tsconfig.json"), JSON.stringify(settings));
  const compiled = spawnSync(resolve(WEB, "node_modules/.bin/tsc"), ["-p", place], { encoding: "utf8" });
  assert.equal(compiled.status, 0, compiled.stdout);
  return place;
}

test("the example of the README compiles and runs", { timeout: 120_000 }, async () => {
  const example = EXAMPLES[0]?.[1] ?? "";
  assert.ok(example.trim().split("\n").length <= 15, "a short one");
  const place = compiled("example", example.replace('"fanfare-client"', '"../../dist/index.js"'));

  const secret = resolve(place, "secret");
  writeFileSync(secret, "a secret that is long enough for anybody to use", { mode: 0o600 });
  const server = await Server.start("--dev", "--token-secret", secret);
  const browser = await open("chromium");
  try {
    const page = await pageAt(browser, server.http);
    const said: string[] = [];
    page.on("console", (message) => said.push(message.text()));
    const grants = ["--join", "lobby", "--send", "lobby"];
    const token = server.command("token", "--secret", secret, "--user", "alice", ...grants).trim();
    const code = readFileSync(resolve(place, "out/example.js"), "utf8")
      .replace('"../../dist/index.js"', '"/fanfare-client.js"')
      // What differs on this machine: the port, the certificate that no authority vouches for, and who gives tokens.
      .replace("https://127.0.0.1:4433/fanfare", server.url)
      .replace("tokenProvider:", "serverCertificateHashes: [hash], tokenProvider:")
      .replace('(await fetch("/token")).text()', JSON.stringify(token))
      .replace(/import \{ connect \} from (".*?");/, "const { connect } = await import($1);");
    void page.evaluate(`(async () => { ${code} })()`).catch(() => {});
    const deadline = Date.now() + 30_000;
    const saw = async (wanted: (text: string) => boolean) => {
      while (!said.some(wanted) && Date.now() < deadline) await new Promise((settle) => setTimeout(settle, 20));
      assert.ok(said.some(wanted), said.join("\n"));
    };
    await saw((text) => text.includes("hello, all 1 of you"));
    server.command("admin", "revoke", "alice", "lobby", "--reason", "example");
    await saw((text) => text === "removed from lobby: example");
  } finally {
    await browser.close();
    await server.stop();
  }
});

test("the example of calls compiles, and does what it says", async () => {
  const example = EXAMPLES[1]?.[1] ?? "";
  const place = compiled("calls", `
    import type { Client } from "../../dist/index.js";
    export async function run(client: Client): Promise<number> {
      ${example}
      return sum;
    }
  `);
  const { run } = (await import(resolve(place, "out/example.js"))) as { run: (client: Client) => Promise<number> };
  const connecting = connect({ url: "https://scripted/fanfare", devUser: "alice" });
  const session: Session = await sessions.next("a connection");
  await session.got.next("Hello");
  session.say({ Welcome: { features: 2 } });
  const client = await connecting;
  const running = run(client);

  const add = await session.got.next("Add");
  assert.deepEqual(add.what, { invoke: { method: "Add", credit: 0, streams: 0, args: [1, 2] } });
  session.say({ Completion: { request: add.request, outcome: { value: 3 } } });
  const { request } = await session.got.next("Prices");
  for (const item of [99, 101]) session.say({ ResultItem: { request, item } });
  assert.equal((await session.got.next("its end")).what, "cancel");
  const record = await session.got.next("Record");
  assert.deepEqual(record.what, { invoke: { method: "Record", credit: 0, streams: 1, args: ["microphone"] } });
  session.say({ StreamCredit: { stream: record.streams?.[0], items: 10 } });
  for (let at = 0; at < 3; at++) {
    const { item } = (await session.got.next("a sample")).what as { item: { at: number } };
    assert.equal(item.at, at);
  }
  assert.deepEqual((await session.got.next("its end")).what, { end: "nothing" });
  session.say({ Completion: { request: record.request, outcome: "nothing" } });
  assert.equal(await running, 3);
  Object.assign(globalThis, { confirm: (question: string) => question === "sure?" });
  session.say({ ClientInvoke: { call: 0, method: "Confirm", arguments: ["sure?"] } });
  assert.deepEqual((await session.got.next("the answer")).what, { answer: { value: true } });
  await client.close();
});
