/**
 * Keeps a client connected: one connection after the other.
 *
 * In: the first connection, requests, and what the server says. Out: answers, events, and the connection that is live.
 * Invariants: there is one connection at a time, and it takes requests only when it is in its groups again; nothing is
 * tried again once closing was asked for. What waits for handlers is bounded: reading then stops, which the server
 * notices. Answers do not wait for handlers, so that a handler may wait for an answer.
 */

import { Answering, Handlers } from "./answering.js";
import { Calls } from "./calls.js";
import { Code } from "./codes.js";
import { encodeClient } from "./codec.js";
import { Effects } from "./effects.js";
import { failed, type Ended } from "./ended.js";
import { FanfareError } from "./errors.js";
import { Events } from "./events.js";
import { PRESENCE, type ClientFrame, type ServerFrame, type Welcome } from "./frames.js";
import { QUEUE } from "./inbox.js";
import type { Link } from "./link.js";
import { Membership } from "./membership.js";
import { encoded } from "./outgoing.js";
import { orAfter, pause } from "./pause.js";
import { Refresher } from "./refresher.js";
import { Rejoin } from "./rejoin.js";
import { Requests } from "./requests.js";
import type { Step } from "./route.js";
import type { Servers } from "./servers.js";
import type { Transport } from "./session.js";
import type { ConnectOptions, Counted } from "./types.js";
import { verdictOf } from "./verdict.js";
import { Watches } from "./watches.js";

const CLOSE_DEADLINE = 5_000;
/**
 * So many attempts of an outage may fail because a group is refused for now: longer than a node that has died holds up
 * groups that are new on another (6 s, and 2 s for each attempt). Then the rest is worth more than all of them.
 */
const INSISTS = 5;
/** Why nothing can be sent any more. */
const CLOSED = "the client is closed";
/** A connection that lasted so long is stable: the pauses begin anew after it. */
const STABLE_AFTER = 10_000;
/** How long an answer may take, in milliseconds, where the application does not say. */
const REQUEST_TIMEOUT = 10_000;
/**
 * How much may wait for handlers while somebody waits for a call, which may take for ever: one of the handlers may be
 * the one.
 */
const BESIDE_CALLS = 16 * QUEUE;

export class Supervisor {
  readonly events = new Events();
  readonly requests: Requests;
  readonly handlers = new Handlers();
  readonly watches = new Watches((group) => this.unwatch(group), (group) => this.watchAll(group));
  private link: Link | undefined;
  /** The current connection, or the last one during an outage. */
  private last: Link;
  /** What belongs to the newest connection, live or not. */
  private ours: Calls;
  private theirs: Answering;
  private readonly groups = new Membership();
  private readonly effects: Effects;
  private readonly patience: number;
  private rejoining: Rejoin | undefined;
  private refresher: Refresher | undefined;
  private closed: Promise<void> | undefined;
  private readonly closing = new AbortController();
  private readonly running: Promise<void>;
  private unknown = 0;

  constructor(private readonly options: ConnectOptions, private readonly servers: Servers, first: Link) {
    this.link = this.last = first;
    this.effects = new Effects(this.groups, options.token);
    this.patience = options.requestTimeout ?? REQUEST_TIMEOUT;
    this.requests = new Requests(this.effects, this.patience);
    [this.ours, this.theirs] = this.callsOf(first);
    const abort = () => this.abort();
    options.signal?.addEventListener("abort", abort, { once: true });
    if (options.signal?.aborted) abort();
    this.running = this.keepConnected(first);
  }

  /** What the server said of the current connection, or of the last one during an outage. */
  get welcome(): Welcome {
    return this.last.welcome;
  }

  /** What the current connection goes over, or the last one during an outage. */
  get transport(): Transport {
    return this.last.transport;
  }

  /** Where the current connection goes to, or the last one during an outage. */
  get url(): string {
    return this.last.url;
  }

  /** Whether there is a connection now. */
  get connected(): boolean {
    return this.link !== undefined && !this.isOver();
  }

  /** How many frames were skipped that this version does not know. */
  get unknownFrames(): number {
    return this.unknown;
  }

  /** The connection that takes requests. Throws where there is none. */
  live(): Link {
    if (this.isOver()) throw new FanfareError("not-connected", `${CLOSED}; nothing was sent`);
    if (this.link) return this.link;
    throw new FanfareError("not-connected", "there is no connection now; nothing was sent");
  }

  /** The calls of the connection that takes requests. Throws where there is none. */
  calls(): Calls {
    this.live();
    return this.ours;
  }

  /** Sends a request, and waits for the answer: the number in it. */
  async ask(frame: (request: number) => ClientFrame): Promise<number> {
    return (await this.askCounted(frame)).count;
  }

  /** The same: all that the answer says. */
  async askCounted(frame: (request: number) => ClientFrame): Promise<Counted> {
    const link = this.live();
    const request = this.requests.next();
    const asked = frame(request);
    const bytes = encoded(asked, link.welcome.limits);
    const answer = this.requests.ask(request, asked, () => link.write(bytes));
    this.events.inbox.ask();
    return answer;
  }

  /** A group that is left during an outage is not joined again. */
  leaving(group: string): void {
    if (this.link === undefined) this.groups.ended(group);
  }

  /** Closes: what was sent before is carried out first, for five seconds at most. */
  async close(): Promise<void> {
    this.closed ??= this.finish();
    return this.closed;
  }

  private async finish(): Promise<void> {
    const link = this.link;
    this.refresher?.end();
    this.requests.stop(CLOSED);
    if (link && !this.closing.signal.aborted) await link.finish(CLOSE_DEADLINE);
    this.abort();
    await this.running;
  }

  private abort(): void {
    this.rejoining?.abandon();
    this.requests.stop(CLOSED);
    this.closing.abort();
    this.events.inbox.ask();
  }

  /** Watches again what is watched, on a connection that watches nothing yet. */
  private watchAgain(link: Link): void {
    for (const group of this.watches.connected()) {
      if ((link.welcome.features & PRESENCE) !== 0n) this.watchAll(group);
      else this.watches.asked(group).refused({ code: Code.NotKnownHere, reason: "this server has no presence" });
    }
  }

  /** Asks for a group that is watched. What is refused for now, or not answered in time, is asked for again. */
  private watchAll(group: string): void {
    const answered = this.watches.asked(group);
    this.ask((request) => ({ kind: "watch", request, group })).then(() => answered.done(), (error: unknown) => {
      // Where the connection is lost, the next one asks.
      if (!(error instanceof FanfareError)) return;
      if (error.kind === "timeout") answered.late();
      if (error.kind !== "refused") return;
      answered.refused({ code: error.code ?? Code.NotKnownHere, reason: error.message });
    });
  }

  /** Nobody watches a group any more. A connection that is lost has told the server. */
  private unwatch(group: string): void {
    if (this.connected) this.ask((request) => ({ kind: "unwatch", request, group })).catch(() => {});
  }

  private isOver(): boolean {
    return this.closed !== undefined || this.closing.signal.aborted;
  }

  private async keepConnected(first: Link): Promise<void> {
    let serving = this.serve(first);
    this.refresher?.live();
    const renews = this.options.tokenProvider !== undefined;
    for (;;) {
      const since = performance.now();
      let why = await serving;
      this.lose();
      let refusals = 0;
      let step: Step | undefined = this.servers.lost(verdictOf(why, renews), performance.now() - since >= STABLE_AFTER);
      for (;;) {
        if (this.isOver() || this.options.reconnect === false || step === undefined) return this.end(why);
        this.events.tell("disconnected", { code: why.code, reason: why.reason, retryIn: step.pause });
        try {
          await pause(step.pause, this.closing.signal);
          const link: Link = await this.servers.attempt(step.place, this.effects.token, this.closing.signal);
          // Before anything is read: what comes first may be about it already.
          [this.ours, this.theirs] = this.callsOf(link);
          const rejoin = this.rejoin(link, refusals < INSISTS);
          serving = this.serve(link);
          const lost: Ended | undefined = await this.rejoined(rejoin, link, serving);
          if (lost === undefined) {
            this.servers.live(step.place);
            break;
          }
          if (rejoin.isRefused) refusals++;
          why = lost;
        } catch (error) {
          if (this.closing.signal.aborted) return this.end(why);
          why = failed(error);
        }
        step = this.servers.failed(step.place, verdictOf(why, renews));
      }
    }
  }

  private callsOf(link: Link): [Calls, Answering] {
    const calls = new Calls(link, this.requests, () => this.events.inbox.ask());
    return [calls, new Answering(link, this.handlers)];
  }

  /** Runs one connection to its end. */
  private async serve(link: Link): Promise<Ended> {
    const drop = () => link.drop();
    this.closing.signal.addEventListener("abort", drop, { once: true });
    if (this.closing.signal.aborted) drop();
    const { tokenProvider } = this.options;
    this.refresher = tokenProvider && new Refresher(
      tokenProvider, this.patience,
      (token) => this.ask((request) => ({ kind: "refresh", request, token })),
      (reason) => this.events.tell("refreshFailed", { reason }),
    );
    const ended = await link.run((frame) => this.take(frame));
    this.closing.signal.removeEventListener("abort", drop);
    return ended;
  }

  /** The connection is gone, and what belonged to it. */
  private lose(): void {
    this.link = undefined;
    this.refresher?.end();
    this.groups.connectionLost();
    this.watches.lost();
    this.requests.fail();
    this.ours.fail();
    this.theirs.end();
    const { rejoining } = this;
    this.rejoining = undefined;
    for (const frame of rejoining?.release() ?? []) this.events.report(frame);
  }

  /** Begins to join the groups again. At the end of that, and in the same moment, the connection is the live one. */
  private rejoin(link: Link, insists: boolean): Rejoin {
    const write = (frame: ClientFrame) => void link.write(encodeClient(frame)).catch(() => {});
    const rejoin = new Rejoin(this.groups, () => this.requests.next(), write, () => {
      this.rejoining = undefined;
      this.link = this.last = link;
      const { transport, url, welcome: { connection } } = link;
      this.events.tell("reconnected", { connection, transport, url, ...rejoin.outcome() });
      for (const frame of rejoin.release()) this.events.report(frame);
      this.watchAgain(link);
      this.refresher?.live();
    }, insists);
    this.rejoining = rejoin;
    return rejoin;
  }

  /**
   * Waits until the connection is live; or says how it was lost, which it is when an answer takes too long, and when a
   * group is refused for now.
   */
  private async rejoined(rejoin: Rejoin, link: Link, serving: Promise<Ended>): Promise<Ended | undefined> {
    rejoin.go();
    const late: Ended = { code: undefined, reason: `no answer within ${this.patience} ms while groups were rejoined` };
    for (;;) {
      const left = rejoin.answeredAt + this.patience - performance.now();
      const lost = left > 0 ? await orAfter<Ended | undefined>(Promise.race([rejoin.done, serving]), left, late) : late;
      if (lost === undefined) return undefined;
      // An answer may have come meanwhile.
      if (lost === late && left > 0) continue;
      rejoin.abandon();
      link.drop();
      const ended = await serving;
      this.lose();
      // What the server said, if only in its goodbye, is more than that it was late.
      return ended.code || ended.retryAfter !== undefined ? ended : lost;
    }
  }

  private end(ended: Ended): void {
    this.closing.abort();
    this.watches.end();
    this.events.end(ended);
  }

  /** Takes a frame. Gives a promise where the next has to wait. */
  private take(frame: ServerFrame): Promise<void> | undefined {
    if (frame.kind === "unknown") this.unknown++;
    else if (this.tookCall(frame) || this.tookPresence(frame)) return undefined;
    else if (this.rejoining) this.hold(this.rejoining, frame);
    else this.sort(frame);
    if (this.events.inbox.length < QUEUE) return undefined;
    // While an answer is waited for the reading goes on: a handler may be waiting for it.
    const excused = () =>
      this.requests.areAwaited || this.rejoining !== undefined || this.closing.signal.aborted ||
      (this.ours.areAwaited && this.events.inbox.length < BESIDE_CALLS);
    return this.events.inbox.room(excused);
  }

  /** Takes what is about calls, which waits for nothing else. Says whether it was. */
  private tookCall(frame: ServerFrame): boolean {
    switch (frame.kind) {
      case "completion":
      case "resultItem":
      case "streamCredit":
      case "streamStop":
        this.ours.take(frame);
        return true;
      case "clientInvoke":
      case "clientCancel":
        this.theirs.take(frame);
        return true;
      case "error":
        return this.ours.refused(frame);
      default:
        return false;
    }
  }

  /** Takes what is about who is in a group, which is kept until it is asked for. Says whether it was. */
  private tookPresence(frame: ServerFrame): boolean {
    if (frame.kind !== "snapshot" && frame.kind !== "changes" && frame.kind !== "watchEnded") return false;
    this.watches.take(frame);
    return true;
  }

  /** What comes while groups are joined again is reported after `reconnected`. */
  private hold(rejoin: Rejoin, frame: ServerFrame): void {
    // The token is renewed as soon as the connection is live.
    if (frame.kind === "expiring") this.refresher?.expiring();
    if (rejoin.took(frame)) return;
    for (const early of rejoin.hold(frame)) this.events.report(early);
  }

  private sort(frame: ServerFrame): void {
    switch (frame.kind) {
      case "ack":
      case "error":
        if (this.requests.answer(frame)) return;
        break;
      case "joined":
        this.groups.joined(frame.group);
        break;
      case "removed":
        this.groups.ended(frame.group);
        break;
      case "expiring":
        this.refresher?.expiring();
    }
    this.events.report(frame);
  }
}
