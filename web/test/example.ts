/**
 * A program of examples/, running, for the tests.
 *
 * In: its name. Out: what its ready line says, and the certificate that pages pin. Invariant: it is in a directory of
 * its own, which goes with it.
 */

import { spawn } from "node:child_process";
import { createHash, X509Certificate } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

import { Process } from "./server.js";

const ROOT = resolve(import.meta.dirname, "../../..");

export class Example {
  private constructor(
    private readonly process: Process,
    private readonly home: string,
    /** What it has said when it was ready, such as `quic=127.0.0.1:4433`. */
    private readonly words: readonly string[],
  ) {}

  /** Starts the program that cargo has built, or the one that a variable such as `FANFARE_CHAT` names. */
  static async start(name: string): Promise<Example> {
    const home = mkdtempSync(join(tmpdir(), `fanfare-${name}-`));
    const binary = process.env[`FANFARE_${name.toUpperCase()}`] ?? join(ROOT, "target/debug/examples", name);
    const places = ["127.0.0.1:0", "127.0.0.1:0"];
    const running = new Process(spawn(binary, places, { cwd: home, stdio: ["ignore", "pipe", "pipe"] }));
    const ready = await running.lines.next().catch((error: unknown) => {
      throw new Error(`${name} did not start: ${String(error)}\n${running.errors}`);
    });
    return new Example(running, home, ready.split(" "));
  }

  said(what: string): string {
    return this.words.find((word) => word.startsWith(`${what}=`))?.slice(what.length + 1) ?? "";
  }

  /** Where WebTransport is. */
  get url(): string {
    return `https://${this.said("quic")}/fanfare`;
  }

  get pid(): number {
    return this.process.pid;
  }

  /** What a page pins. */
  get hash(): string {
    const certificate = new X509Certificate(readFileSync(join(this.home, ".fanfare/server.pem")));
    return createHash("sha256").update(certificate.raw).digest("base64");
  }

  async stop(): Promise<void> {
    await this.process.end("SIGKILL");
    rmSync(this.home, { recursive: true, force: true });
  }
}
