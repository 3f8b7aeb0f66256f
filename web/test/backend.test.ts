/** A back end that stays where it is, examples/backend.py: SignalR's client negotiates there and connects here. */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { chmodSync, copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { join, resolve } from "node:path";
import { test } from "node:test";

import { Process, Server } from "./server.js";
import { until as eventually } from "./signalr-scene.js";

const ROOT = resolve(import.meta.dirname, "../../..");
const README = readFileSync(join(ROOT, "README.md"), "utf8");
const SCRIPT = join(ROOT, "examples/chat.mjs");
const PYTHON = process.env["FANFARE_PYTHON"] ?? join(ROOT, "target/python/bin/python");
const SESSIONS = { "of-alice": "alice", "of-bob": "bob" };

/** A port that nothing listens at: the server is told where its back end is before that runs. */
async function freePort(): Promise<number> {
  const listener = createServer().listen(0, "127.0.0.1");
  await new Promise((settle) => listener.once("listening", settle));
  const { port } = listener.address() as AddressInfo;
  await new Promise((settle) => listener.close(settle));
  return port;
}

/** An empty directory in which the client is installed, with the script, and the README's webhook. */
function place(port: number): { home: string; script: string } {
  const home = join(ROOT, "web/build/backend");
  rmSync(home, { recursive: true, force: true });
  mkdirSync(home, { recursive: true });
  const script = join(home, "chat.mjs");
  copyFileSync(SCRIPT, script);
  for (const [name, secret] of [
    ["chat.secret", `whsec_${Buffer.alloc(32, 7).toString("base64")}`],
    ["token.secret", "a secret that is long enough for anybody to use"],
  ] as const) {
    writeFileSync(join(home, name), secret);
    chmodSync(join(home, name), 0o600);
  }
  const toml = /```toml\n(\[\[webhook\]\][^]*?)```/u.exec(README)?.[1] ?? "";
  writeFileSync(join(home, "webhooks.toml"), toml.replace(":8000", `:${port}`));
  return { home, script };
}

test("SignalR's client is sent here by its back end, which answers what it invokes", { timeout: 120_000 }, async () => {
  const port = await freePort();
  const { home, script } = place(port);
  const hooks = ["--webhooks", join(home, "webhooks.toml"), "--token-secret", join(home, "token.secret")];
  const server = await Server.start("--dev", ...hooks);
  const running: Process[] = [];
  const begin = (command: string, args: string[], env: NodeJS.ProcessEnv = {}): Process => {
    const child = spawn(command, args, { env: { ...process.env, ...env }, stdio: ["ignore", "pipe", "pipe"] });
    const begun = new Process(child);
    running.push(begun);
    return begun;
  };
  const chat = (session: string, text: string): Process => {
    return begin(process.execPath, [script, session, text, `http://127.0.0.1:${port}/chat`]);
  };
  try {
    const scopes = ["send:group:*", "members", "mint"].flatMap((scope) => ["--allow", scope]);
    const key = server.command("apikey", "create", "--name", "chat", ...scopes).trim();
    const backEnd = begin(PYTHON, [join(ROOT, "examples/backend.py")], {
      FANFARE_API: `http://${server.http}/api/v1`,
      FANFARE_API_KEY: key,
      WEBHOOK_SECRET: readFileSync(join(home, "chat.secret"), "utf8"),
      SESSIONS: JSON.stringify(SESSIONS),
      PORT: String(port),
    });
    assert.match(await backEnd.lines.next().catch(() => backEnd.errors), /^ready /u);

    const alice = chat("of-alice", "Good morning");
    const said = [];
    for (let line = 0; line < 2; line++) said.push(await alice.lines.next().catch(() => alice.errors));
    // The message comes on its own way, before the answer or after it.
    assert.deepEqual(said.toSorted(), ["alice: Good morning", "sent to 1"]);
    // It comes back by itself, by way of its back end and with another token.
    await server.restart("SIGKILL");
    const isBack = (): boolean => {
      try {
        return server.command("admin", "members", "lobby").includes("alice");
      } catch {
        return false;
      }
    };
    await eventually("Alice is back", isBack);
    const bob = chat("of-bob", "hello <b>Alice</b>");
    assert.equal(await alice.lines.next(), "bob: hello <b>Alice</b>");
    await bob.lines.next();

    const nobody = chat("of-nobody", "hello");
    await assert.rejects(nobody.lines.next());
    assert.match(nobody.errors, /401/u);
    // While the server was away, clients negotiated.
    const trouble = backEnd.errors.split("\n").filter((line) => line && !line.includes("mint-token does not reach"));
    assert.deepEqual(trouble, []);
    assert.ok(!backEnd.errors.includes(key) && !backEnd.errors.includes("of-alice"), "a secret is in its lines");
  } finally {
    // Before its back end, for which it would wait.
    await server.stop();
    await Promise.all(running.map((one) => one.end("SIGKILL")));
  }
});
