/** The README's example, as it stands there: it compiles, and it runs in a browser. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { test } from "node:test";

import { open, pageAt } from "./browser.js";
import { Server } from "./server.js";

const WEB = resolve(import.meta.dirname, "../..");

test("the example of the README compiles and runs", { timeout: 120_000 }, async () => {
  const example = /```ts\n([^]*?)```/.exec(readFileSync(resolve(WEB, "README.md"), "utf8"))?.[1] ?? "";
  assert.ok(example.trim().split("\n").length <= 15, "a short one");
  const place = resolve(WEB, "build/example");
  rmSync(place, { recursive: true, force: true });
  mkdirSync(place, { recursive: true });
  writeFileSync(resolve(place, "example.ts"), example.replace('"fanfare-client"', '"../../dist/index.js"'));
  const compilerOptions = { rootDir: ".", outDir: "out" };
  const settings = { extends: "../../tsconfig.json", include: ["."], compilerOptions };
  writeFileSync(resolve(place, "tsconfig.json"), JSON.stringify(settings));
  const compiled = spawnSync(resolve(WEB, "node_modules/.bin/tsc"), ["-p", place], { encoding: "utf8" });
  assert.equal(compiled.status, 0, compiled.stdout);

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
