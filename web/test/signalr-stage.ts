/**
 * Where the cases with SignalR's own client are run: the servers, and a site of pages on another port.
 *
 * In: nothing. Out: servers that run, who acts for a case, and pages that have the cases in them. Invariant: a page is
 * of another origin than the servers, as an application's page is, so that each of its requests crosses origins.
 */

import { build } from "esbuild";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server as HttpServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Browser, Page } from "puppeteer-core";

import { Example } from "./example.js";
import { Server, type Process } from "./server.js";
import type { Encoding, Place, World } from "./signalr-scene.js";

const SECRET = "a secret that is long enough for anybody to use";

/** What a page of the site has. */
declare const cases: typeof import("./signalr-cases.js");

export class Stage {
  private native: Process | undefined;
  /** Every token that was made. */
  readonly tokens: string[] = [];

  private constructor(
    private readonly home: string,
    readonly dev: Server,
    readonly guarded: Server,
    readonly brief: Server,
    readonly everything: Example,
    private readonly site: HttpServer,
  ) {}

  static async start(): Promise<Stage> {
    const home = mkdtempSync(join(tmpdir(), "fanfare-signalr-"));
    writeFileSync(join(home, "secret"), SECRET, { mode: 0o600 });
    const bundle = await build({
      entryPoints: [join(import.meta.dirname, "signalr-cases.js")],
      bundle: true, write: false, format: "iife", globalName: "cases", platform: "browser", logLevel: "error",
    });
    const script = bundle.outputFiles[0]?.text ?? "";
    const [dev, guarded, brief, everything] = await Promise.all([
      Server.start("--dev"),
      // It says all that it ever says, so that it shows whether a token is in it.
      Server.start("--dev", "--token-secret", join(home, "secret"), "--token-leeway=0s", "--log=trace"),
      Server.start("--dev", "--idle-timeout=3s"),
      Example.start("everything"),
    ]);
    const site = createServer((request, response) => {
      if (request.url === "/ask") {
        void body(request).then((words) => stage.ask(...(JSON.parse(words) as [string, ...string[]]))).then(
          (answer) => response.end(answer),
          (error: unknown) => response.writeHead(500).end(String(error)),
        );
      } else if (request.url === "/cases.js") {
        response.writeHead(200, { "content-type": "text/javascript" }).end(script);
      } else {
        const page = '<!doctype html><meta charset="utf-8"><title>cases</title><script src="/cases.js"></script>';
        response.writeHead(200, { "content-type": "text/html" }).end(page);
      }
    });
    // On every address of this machine: the server takes pages of some of them, and not of others.
    await new Promise<void>((settle) => site.listen(0, "0.0.0.0", settle));
    const stage = new Stage(home, dev, guarded, brief, everything, site);
    return stage;
  }

  get urls(): Record<Place, string> {
    const { dev, guarded, brief, everything } = this;
    return {
      dev: dev.signalr, tokens: guarded.signalr, brief: brief.signalr, everything: everything.said("signalr"),
    };
  }

  /** Where a page is, on one of this machine's addresses. */
  pages(host = "127.0.0.1"): string {
    return `http://${host}:${(this.site.address() as { port: number }).port}/`;
  }

  token(user: string, lifetime: string): string {
    const grants = ["--join", "*room", "--send", "*room"];
    const signed = ["--secret", join(this.home, "secret"), "--for", lifetime];
    const token = this.guarded.command("token", "--user", user, ...grants, ...signed).trim();
    this.tokens.push(token);
    return token;
  }

  /** Does for a case what a client cannot. */
  async ask(what: string, ...words: string[]): Promise<string> {
    switch (what) {
      case "command": return this.dev.command(...words);
      case "restart": {
        await this.dev.restart(words[0] as "SIGTERM" | "SIGKILL");
        return "";
      }
      case "token": return this.token(...(words as [string, string]));
      // A native client that listens.
      case "listen": {
        const [user, group] = words as [string, string];
        this.native = this.dev.begin("listen", "--json", "--user", user, "--join", group);
        return "";
      }
      case "heard": return (await this.native?.lines.next()) ?? "";
      case "hush": {
        await this.native?.end("SIGTERM");
        return "";
      }
      default: throw new Error(`nobody knows how to ${what}`);
    }
  }

  world(tag: string, encoding: Encoding): World {
    return { tag, encoding, urls: this.urls, ask: this.ask.bind(this) };
  }

  async page(browser: Browser, host?: string): Promise<Page> {
    const page = await browser.newPage();
    await page.goto(this.pages(host));
    return page;
  }

  async stop(): Promise<void> {
    await this.native?.end("SIGKILL");
    this.site.closeAllConnections();
    this.site.close();
    const { dev, guarded, brief, everything } = this;
    await Promise.all([dev, guarded, brief, everything].map((one) => one.stop()));
    rmSync(this.home, { recursive: true, force: true });
  }
}

async function body(request: IncomingMessage): Promise<string> {
  let body = "";
  for await (const piece of request) body += String(piece);
  return body;
}

/** Runs a case in a page of the site. */
export async function runIn(page: Page, name: string, { tag, encoding, urls }: World): Promise<void> {
  await page.evaluate(async (name, tag, encoding, urls) => {
    const ask = async (...words: string[]) => {
      const answer = await fetch("/ask", { method: "POST", body: JSON.stringify(words) });
      if (!answer.ok) throw new Error(await answer.text());
      return answer.text();
    };
    await cases.run(name, { tag, encoding, urls, ask });
  }, name, tag, encoding, urls);
}
