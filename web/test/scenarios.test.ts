/**
 * The scenarios that every client is held to (tests/scenarios/README.md says what a step means), for this client under
 * Node.
 *
 * In: the files of tests/scenarios. Out: for each, what a scripted server got and what the application saw.
 */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { test } from "node:test";
import { isDeepStrictEqual } from "node:util";

import { connect, type Client } from "../src/client.js";
import { FanfareError } from "../src/errors.js";
import type { Happenings, PresenceChange, Watch } from "../src/types.js";
import { DEADLINE, Series } from "./series.js";
import { sessions, type Session } from "./session.js";

type Step = Record<string, any>;
interface Scenario {
  readonly name: string;
  readonly token?: string;
  readonly tokens?: readonly string[];
  readonly patience_ms?: number;
  readonly steps: readonly Step[];
}

const ROOT = resolve(import.meta.dirname, "../../..");
const SCENARIOS = ["clients.json", "calls.json", "presence.json"].flatMap(
  (file) => JSON.parse(readFileSync(resolve(ROOT, "tests/scenarios", file), "utf8")) as Scenario[],
);

/** How something that was called ended: `done` says what it gave. */
async function outcome<T>(call: () => Promise<T>, done: (value: T) => unknown = () => "done"): Promise<unknown> {
  try {
    return done(await call());
  } catch (error) {
    assert.ok(error instanceof FanfareError, String(error));
    const { kind, code, detail, data } = error;
    if (kind !== "failed") return code ?? kind;
    return { failed: code, detail, ...(data === undefined ? {} : { data }) };
  }
}

/** Whether an answer is as a step has it, which need not have every field. */
function isAnswer(wanted: unknown, got: unknown): boolean {
  if (typeof wanted !== "object" || wanted === null) return wanted === got;
  const fields = got as Record<string, unknown>;
  return Object.entries(wanted).every(([field, value]) => isDeepStrictEqual(fields[field], value));
}

/** The steps of a scenario, with those that are to be done for several numbers written out. */
function written(steps: readonly Step[]): Step[] {
  return steps.flatMap((step) => {
    if (!step["for"]) return [step];
    const [first, last] = step["for"] as [number, number];
    const each = JSON.stringify(step["steps"]);
    const numbers = Array.from({ length: last - first + 1 }, (_, at) => String(first + at).padStart(3, "0"));
    return numbers.flatMap((number) => written(JSON.parse(each.replaceAll("#", number)) as Step[]));
  });
}

class Run {
  private readonly seen = new Series<Step>();
  private connecting: Promise<Client> | undefined;
  private client: Client | undefined;
  private session: Session | undefined;
  private unanswered: number[] = [];
  private calls: Promise<unknown>[] = [];
  private letGo: (() => void)[] = [];
  private outage = false;
  /** The newest call, as the server got it. */
  private invoked: { readonly request: number; readonly stream: number | undefined } | undefined;
  /** How many questions the server has asked on this connection. */
  private questions = 0;
  private items: AsyncIterator<unknown> | undefined;
  private watched: { readonly watch: Watch; readonly turns: AsyncIterator<PresenceChange> } | undefined;
  /** Gives up what was called last. */
  private giveUp = new AbortController();

  constructor({ token, tokens, patience_ms }: Scenario) {
    const left = [...(tokens ?? [])];
    const tokenProvider = async (): Promise<string> => {
      const token = left.shift() ?? "!fail";
      if (token === "!fail") throw new Error("the sign-in service is down");
      if (!token.startsWith("!hang:")) return token;
      await new Promise<void>((settle) => this.letGo.push(settle));
      return token.slice("!hang:".length);
    };
    const who = tokens ? { tokenProvider } : token !== undefined ? { token } : { devUser: "alice" };
    const patience = { connectTimeout: DEADLINE, requestTimeout: patience_ms ?? DEADLINE };
    const reconnect = { firstDelay: 1, maxDelay: 20 };
    this.connecting = connect({ url: "https://scripted/fanfare", reconnect, ...patience, ...who });
  }

  private answer(client: Client): void {
    client.onInvoke("Echo", (value: unknown) => value);
    client.onInvoke("Refuse", () => Promise.reject(new Error("no")));
    client.onInvoke("Wait", () => new Promise<void>((settle) => this.letGo.push(settle)));
    client.onInvoke("Count", () => client.count("all"));
    client.onInvoke("Twice", (value: unknown) => client.invoke("Add", value, value));
  }

  private watch(client: Client): void {
    const tell = <K extends keyof Happenings>(kind: K, as: (what: Happenings[K]) => Step): void => {
      client.when(kind, (what) => this.seen.push(as(what)));
    };
    tell("joined", ({ group, members }) => ({ kind: "joined", group, members }));
    tell("removed", ({ group, code, reason }) => ({ kind: "removed", group, code, reason }));
    tell("expiring", ({ seconds }) => ({ kind: "expiring", seconds }));
    tell("refreshFailed", ({ reason }) => ({ kind: "refresh_failed", reason }));
    tell("goodbye", ({ code, reason, retryAfter }) => {
      return { kind: "goodbye", code, reason, retry_after_ms: retryAfter };
    });
    tell("lagged", ({ dropped }) => ({ kind: "lagged", dropped }));
    client.on("E", (_, message) => this.seen.push({ kind: "message", format: message.format, text: message.text() }));
    tell("closed", ({ code }) => ({ kind: "closed", code }));
    tell("reconnected", ({ rejoined, refused, lost }) => {
      this.outage = false;
      return { kind: "reconnected", rejoined, refused, lost };
    });
    // A try that failed is told by this client, and not by every one.
    client.when("disconnected", ({ code, retryIn }) => {
      if (!this.outage) this.seen.push({ kind: "disconnected", code, pause_ms: retryIn });
      this.outage = true;
    });
  }

  private peer(): Session {
    assert.ok(this.session);
    return this.session;
  }

  async step(step: Step): Promise<void> {
    const [what, value] = Object.entries(step)[0] as [string, any];
    switch (what) {
      case "accept": {
        this.unanswered = [];
        this.questions = 0;
        this.session = await sessions.next("a connection");
        const hello = await this.session.got.next("Hello");
        if (value !== null) assert.deepEqual(hello.what, { token: value });
        return;
      }
      case "welcome":
        this.peer().say({ Welcome: value === true ? {} : value }, step["behind"]);
        if (this.connecting) {
          this.client = await this.connecting;
          this.connecting = undefined;
          this.watch(this.client);
          this.answer(this.client);
        }
        return;
      case "say": return this.peer().say(value, step["behind"]);
      case "bytes": return this.peer().sayBytes(value);
      case "datagram": return this.peer().sayUnreliably(value, step["behind"]);
      case "unknown": return assert.equal(this.client?.unknownFrames, value);
      case "closed_with": return assert.equal(await this.peer().closedWith.next("the client's close"), value);
      case "get": {
        const { request, what, streams } = await this.peer().got.next(JSON.stringify(value));
        if (value.answer !== undefined) {
          const { answer } = what as { answer?: unknown };
          assert.ok(isAnswer(value.answer, answer), JSON.stringify(what));
          return assert.equal(request, step["number"]);
        }
        assert.deepEqual(what, value);
        if (value === "cancel" || value.credit !== undefined) return assert.equal(request, this.invoked?.request);
        if (value.item !== undefined || value.end !== undefined) return assert.equal(request, this.invoked?.stream);
        if (value.invoke) this.invoked = { request, stream: streams?.[0] };
        this.unanswered.push(request);
        return;
      }
      case "complete":
        return this.peer().say({ Completion: { request: this.unanswered.shift(), outcome: value } });
      case "complete_newest":
        return this.peer().say({ Completion: { request: this.unanswered.pop(), outcome: value } });
      case "item": return this.peer().say({ ResultItem: { request: this.invoked?.request, item: value } });
      case "stream_credit": return this.peer().say({ StreamCredit: { stream: this.invoked?.stream, items: value } });
      case "stream_stop": return this.peer().say({ StreamStop: { stream: this.invoked?.stream } });
      case "ask": {
        const call = this.questions++;
        return this.peer().say({ ClientInvoke: { call, method: value, arguments: step["args"] } });
      }
      case "unask": return this.peer().say({ ClientCancel: { call: value } });
      case "give_up": {
        this.giveUp.abort();
        assert.equal(await this.calls.pop(), "aborted");
        return;
      }
      case "ack": return this.peer().say({ Ack: { request: this.unanswered.shift(), count: value } }, step["behind"]);
      case "ack_newest": return this.peer().say({ Ack: { request: this.unanswered.pop(), count: value } });
      case "refuse": {
        const refusal = { request: this.unanswered.shift(), code: value, detail: "no" };
        return this.peer().say({ Error: refusal }, step["behind"]);
      }
      case "close": return this.peer().end(value, "");
      case "finish": return this.peer().finish();
      case "break": return this.peer().break(value);
      case "let_go":
        for (const settle of this.letGo.splice(0)) settle();
        return;
      case "call": {
        this.calls.push(this.call(value, step));
        return;
      }
      case "result": {
        assert.deepEqual(await this.calls.shift(), value);
        return;
      }
      case "see": {
        const event = await this.seen.next(JSON.stringify(value));
        for (const [field, wanted] of Object.entries(value)) {
          if (field === "at_least_ms") assert.ok(event["pause_ms"] >= (wanted as number), JSON.stringify(event));
          else assert.deepEqual(event[field], wanted, JSON.stringify(event));
        }
        return;
      }
      default: throw new Error(`there is no step ${what}`);
    }
  }

  private call(what: string, step: Step): Promise<unknown> {
    const client = this.client as Client;
    this.giveUp = new AbortController();
    const { method, args, upload } = step;
    const invocation = { method, args, uploads: upload ? [upload] : [], signal: this.giveUp.signal };
    switch (what) {
      case "join": return outcome(() => client.join(step["group"]));
      case "leave": return outcome(() => client.leave(step["group"]));
      case "count": return outcome(() => client.count("all"));
      case "refresh": return outcome(() => client.refresh(step["token"]));
      case "close": return outcome(() => client.close());
      case "invoke": return outcome(() => client.call(invocation), (value) => ({ value: value ?? null }));
      case "stream": return outcome(async () => (this.items = client.stream(method, ...args)));
      case "next":
        return outcome(async () => this.items?.next(), (next) => (next?.done ? "end" : { item: next?.value }));
      case "drop": return outcome(async () => this.items?.return?.());
      case "watch":
        return outcome(async () => {
          const watch = await client.watch(step["group"]);
          this.watched = { watch, turns: watch[Symbol.asyncIterator]() };
        });
      case "presence": return outcome(async () => this.watched?.turns.next(), (next) => this.presence(next));
      case "unwatch": return outcome(async () => this.watched?.watch.close());
      default: throw new Error(`the application does not call ${what}`);
    }
  }

  /** A turn of the newest watch, as scenarios have it. */
  private presence(next: IteratorResult<PresenceChange> | undefined): unknown {
    if (next?.done !== false) return { ended: this.watched?.watch.ended?.code };
    const { present, left } = next.value;
    return { present: Object.fromEntries(present.map(({ user, connections }) => [user, connections])), left };
  }

  async end(): Promise<void> {
    for (const settle of this.letGo.splice(0)) settle();
    const client = this.client ?? (await this.connecting?.catch(() => undefined));
    const closing = client?.close();
    this.session?.end(0, "");
    await closing;
  }
}

assert.ok(SCENARIOS.length >= 20);
for (const scenario of SCENARIOS) {
  const { name, steps } = scenario;
  test(`scenario: ${name}`, async () => {
    const run = new Run(scenario);
    try {
      for (const step of written(steps)) {
        try {
          await run.step(step);
        } catch (error) {
          throw new Error(`at ${JSON.stringify(step)}: ${String(error)}`, { cause: error });
        }
      }
    } finally {
      await run.end();
    }
  });
}
