/**
 * A real server, and the commands beside it, for the tests.
 *
 * In: flags. Out: a running `fanfare serve`, and what its commands print. Invariant: everything is on loopback, in a
 * directory of its own, and ends with the test.
 */

import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface, type Interface } from "node:readline";

const ROOT = resolve(import.meta.dirname, "../../..");
/** The binary that `cargo build` makes, or another. */
const BINARY = process.env["FANFARE_BINARY"] ?? join(ROOT, "target/debug/fanfare");
export const DEADLINE = 30_000;

/** The lines of a process, one after the other. */
class Lines {
  private readonly waiting: string[] = [];
  private wake: (() => void) | undefined;
  private over = false;

  constructor(lines: Interface) {
    lines.on("line", (line) => {
      this.waiting.push(line);
      this.wake?.();
    });
    lines.on("close", () => {
      this.over = true;
      this.wake?.();
    });
  }

  async next(): Promise<string> {
    const deadline = Date.now() + DEADLINE;
    for (;;) {
      const line = this.waiting.shift();
      if (line !== undefined) return line;
      if (this.over || Date.now() > deadline) throw new Error("the process said nothing more");
      await new Promise<void>((settle) => {
        this.wake = settle;
        setTimeout(settle, 1_000);
      });
    }
  }
}

/** A running process of our binary. */
export class Process {
  readonly lines: Lines;
  private log = "";

  constructor(private readonly child: ChildProcess) {
    if (!child.stdout || !child.stderr) throw new Error("no pipes");
    this.lines = new Lines(createInterface(child.stdout));
    child.stderr.on("data", (bytes: Buffer) => (this.log += bytes.toString()));
  }

  /** What it has said on the error channel. */
  get errors(): string {
    return this.log;
  }

  /** The process's id. */
  get pid(): number {
    return this.child.pid ?? 0;
  }

  async end(signal: "SIGTERM" | "SIGKILL"): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const ended = new Promise<void>((settle) => this.child.once("exit", () => settle()));
    this.child.kill(signal);
    await ended;
  }
}

export class Server {
  private constructor(
    private process: Process,
    /** What it keeps: its certificates, too. */
    readonly state: string,
    private readonly flags: readonly string[],
    /** Where browsers and native clients connect. */
    readonly address: string,
    readonly admin: string,
    /** Where the page is. */
    readonly http: string,
    /** Where SignalR's clients connect. */
    readonly signalr: string,
  ) {}

  static async start(...flags: string[]): Promise<Server> {
    const state = mkdtempSync(join(tmpdir(), "fanfare-web-"));
    const places = ["--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--http-listen=127.0.0.1:0"];
    const [process, said] = await Server.run(state, [...places, ...flags]);
    return new Server(process, state, flags, said("quic"), said("admin"), said("http"), said("signalr"));
  }

  private static async run(state: string, flags: readonly string[]): Promise<[Process, (what: string) => string]> {
    const serve = ["serve", "--state-dir", state, ...flags];
    const process = new Process(spawn(BINARY, serve, { stdio: ["ignore", "pipe", "pipe"] }));
    const ready = await process.lines.next().catch((error: unknown) => {
      throw new Error(`the server did not start: ${String(error)}\n${process.errors}`);
    });
    const words = ready.split(" ");
    const said = (what: string) => words.find((word) => word.startsWith(`${what}=`))?.slice(what.length + 1) ?? "";
    return [process, said];
  }

  /** Where WebTransport is. */
  get url(): string {
    return `https://${this.address}/fanfare`;
  }

  /** What it has logged since it was started last. */
  get log(): string {
    return this.process.errors;
  }

  get pid(): number {
    return this.process.pid;
  }

  /** Stops it, and starts another in its place. */
  async restart(signal: "SIGTERM" | "SIGKILL"): Promise<void> {
    await this.process.end(signal);
    const places = [`--listen=${this.address}`, `--admin-listen=${this.admin}`, `--http-listen=${this.http}`];
    [this.process] = await Server.run(this.state, [...places, ...this.flags]);
  }

  private environment(): NodeJS.ProcessEnv {
    const { PATH, HOME } = process.env;
    return { PATH, HOME, FANFARE_SERVER: this.address, FANFARE_ADMIN: this.admin, FANFARE_STATE_DIR: this.state };
  }

  /** Runs a command to its end, and gives what it printed. */
  command(...args: string[]): string {
    const done = spawnSync(BINARY, args, { env: this.environment(), encoding: "utf8", timeout: DEADLINE });
    if (done.status !== 0) throw new Error(`fanfare ${args.join(" ")}: ${done.status} ${done.stderr}`);
    return done.stdout;
  }

  /** Starts a command that goes on. */
  begin(...args: string[]): Process {
    return new Process(spawn(BINARY, args, { env: this.environment(), stdio: ["ignore", "pipe", "pipe"] }));
  }

  async stop(): Promise<void> {
    await this.process.end("SIGTERM");
    rmSync(this.state, { recursive: true, force: true });
  }
}
