/**
 * What an application calls: a client that stays connected.
 *
 * In: the application's calls and handlers. Out: requests in the order of the calls, answers, and what happens. Invariants: there is one
 * connection at a time, and it takes requests only when it is in its groups again; nothing is tried again once closing was asked for; handlers are called in the order in which
 * things came, and one that returns a promise is waited for before the next. What has come and waits for handlers is bounded: then the
 * reading waits, which the server notices. Answers do not wait for handlers, so that a handler may wait for an answer.
 */

import { Code, mayReconnect } from "./codes.js";
import { datagramBytes, encodeClient } from "./codec.js";
import { FanfareError } from "./errors.js";
import {
  DATAGRAM_BYTES,
  type ClientFrame, type Credential, type Limits, type MessageFrame, type ServerFrame, type Target,
} from "./frames.js";
import { called, Inbox } from "./inbox.js";
import { Link, orAfter, unlessAborted, type Address, type Ended } from "./link.js";
import { Loop } from "./loop.js";
import { Membership } from "./membership.js";
import { formatted, type Payload } from "./payload.js";
import { pause } from "./pause.js";
import { Refresher } from "./refresher.js";
import { Rejoin } from "./rejoin.js";
import type { ConnectOptions, Expiring, Handler, Happenings, Message, Removed, SendOptions } from "./types.js";

const DECODER = new TextDecoder();
const CLOSE_DEADLINE = 5_000;

interface Waiting {
  settle(count: number): void;
  reject(error: FanfareError): void;
}

/** Connects. Rejects with a {@link FanfareError} that says why it did not work. */
export async function connect(options: ConnectOptions): Promise<Client> {
  return Client.connect(options);
}

/** A client of a Fanfare server. */
export class Client implements AsyncIterable<Message> {
  private link: Link | undefined;
  private request = 0;
  private waiting = new Map<number, Waiting>();
  /** Requests that change something here when they are answered, whether or not somebody still waits. */
  private effects = new Map<number, ClientFrame>();
  private groups = new Membership();
  private rejoining: Rejoin | undefined;
  private refresher: Refresher | undefined;
  /** The newest token that the server took, where there is no provider. */
  private token: string | undefined;
  /** The request that it came with. Of two refreshes the later one's is the newer, whichever is answered last. */
  private tokenFrom = 0;
  private leaving = false;
  private events = new Map<string, Set<(payload: Uint8Array, message: Message) => void | Promise<void>>>();
  private handlers = new Map<keyof Happenings, Set<Handler<never>>>();
  private loops = new Set<Loop>();
  private ended: Ended | undefined;
  private closing = new AbortController();
  private inbox = new Inbox();
  private running: Promise<void> = Promise.resolve();
  private last: Link;
  private unknown = 0;

  private constructor(private readonly options: ConnectOptions, private readonly address: Address, link: Link) {
    this.link = this.last = link;
    this.token = options.token;
  }

  /** @internal */
  static async connect(options: ConnectOptions): Promise<Client> {
    const address = { url: options.url, hashes: (options.serverCertificateHashes ?? []).map(hash) };
    if ([options.token, options.tokenProvider, options.devUser].filter((one) => one !== undefined).length !== 1) {
      throw new FanfareError("argument", "give one of token, tokenProvider and devUser");
    }
    const link = await open(options, address, options.token, options.signal);
    const client = new Client(options, address, link);
    const close = () => {
      client.closing.abort();
      client.inbox.ask();
    };
    options.signal?.addEventListener("abort", close, { once: true });
    if (options.signal?.aborted) close();
    client.running = client.keepConnected(link);
    return client;
  }

  /** The id of the connection, or of the last one during an outage. */
  get connectionId(): string {
    return this.last.welcome.connection;
  }

  /** Who the server takes this client for. */
  get user(): string {
    return this.last.welcome.user;
  }

  /** What this connection may send. */
  get limits(): Limits {
    return this.last.welcome.limits;
  }

  /** The server's name and version. */
  get server(): string {
    return this.last.welcome.server;
  }

  /**
   * How many frames of the server were skipped, because this version does not know them: the server is a later version,
   * and tells of something that this client cannot show.
   */
  get unknownFrames(): number {
    return this.unknown;
  }

  /** Whether there is a connection now. */
  get connected(): boolean {
    return this.link !== undefined;
  }

  /** Becomes a member of a group; gives how many members it has. Joined again after an outage. */
  async join(group: string): Promise<number> {
    return this.ask((request) => ({ kind: "join", request, group }));
  }

  /** Stops being a member; gives how many members are left. Also during an outage the group is not joined again. */
  async leave(group: string): Promise<number> {
    if (this.link === undefined) this.groups.ended(group);
    return this.ask((request) => ({ kind: "leave", request, group }));
  }

  /** How many connections a target has now. */
  async count(target: Target): Promise<number> {
    return this.ask((request) => ({ kind: "count", request, target }));
  }

  /** Goes on with another token of the same user; gives how many groups this client is still in. */
  async refresh(token: string): Promise<number> {
    return this.ask((request) => ({ kind: "refresh", request, token }));
  }

  /** Sends to every connection of a user. Settles when the transport takes more, not when it has arrived. */
  async sendToUser(user: string, event: string, payload: Payload, options?: SendOptions): Promise<number> {
    return this.send([{ user }], event, payload, options);
  }

  /** Sends to every member of a group. */
  async sendToGroup(group: string, event: string, payload: Payload, options?: SendOptions): Promise<number> {
    return this.send([{ group }], event, payload, options);
  }

  /** Sends to one connection. */
  async sendToConnection(connection: string, event: string, payload: Payload, options?: SendOptions): Promise<number> {
    return this.send([{ connection }], event, payload, options);
  }

  /** Sends to every connection of the server. */
  async sendToAll(event: string, payload: Payload, options?: SendOptions): Promise<number> {
    return this.send(["all"], event, payload, options);
  }

  /** Sends to several targets; who is reached in several ways gets one copy. Gives the number that a `refused` would carry. */
  async send(to: readonly Target[], event: string, payload: Payload, options: SendOptions = {}): Promise<number> {
    const frame = this.outgoing(++this.request, to, event, payload, options);
    await this.live().write(encodeClient(frame));
    return frame.request;
  }

  /** The same, and waits for the answer: to how many connections it was queued. */
  async sendAcked(to: readonly Target[], event: string, payload: Payload, options: SendOptions = {}): Promise<number> {
    return this.ask((request) => ({ ...this.outgoing(request, to, event, payload, options), ack: true }));
  }

  /**
   * Sends a message that may get lost, as a datagram: for positions, cursors, levels. Recipients get it as any message. Throws where it
   * does not fit.
   */
  unreliable(to: Target, event: string, payload: Payload, options: SendOptions = {}): void {
    const frame = this.outgoing(++this.request, [to], event, payload, options);
    const link = this.live();
    const bytes = datagramBytes(link.welcome, to, event, frame.payload);
    if (bytes > DATAGRAM_BYTES) {
      throw new FanfareError("argument", `the message has ${bytes} bytes as a datagram; at most ${DATAGRAM_BYTES} get through`);
    }
    link.datagram(encodeClient(frame).subarray(4));
  }

  /** Calls `handler` for every message of this name. Gives a function that ends that. */
  on(event: string, handler: (payload: Uint8Array, message: Message) => void | Promise<void>): () => void {
    return entered(this.events, event, handler);
  }

  /** Calls `handler` when this client is removed from a group. */
  onRemoved(handler: Handler<Removed>): () => void {
    return this.when("removed", handler);
  }

  /** Calls `handler` when access is about to end. With a `tokenProvider` it is renewed without that. */
  onExpiring(handler: Handler<Expiring>): () => void {
    return this.when("expiring", handler);
  }

  /** Calls `handler` when something happens. Gives a function that ends that. */
  when<K extends keyof Happenings>(kind: K, handler: Handler<Happenings[K]>): () => void {
    return entered(this.handlers, kind, handler as Handler<never>);
  }

  /** Every message from now on, in a loop. A loop that falls behind slows the server down, as far as the server lets it. */
  [Symbol.asyncIterator](): AsyncIterator<Message> {
    const loop = new Loop(() => this.loops.delete(loop));
    if (this.ended) loop.end();
    else this.loops.add(loop);
    return loop;
  }

  /** Closes: what was sent before is carried out first, for five seconds at most. */
  async close(): Promise<void> {
    const link = this.link;
    this.leaving = true;
    if (link && !this.closing.signal.aborted) await link.finish(CLOSE_DEADLINE);
    this.closing.abort();
    this.inbox.ask();
    await this.running;
  }

  private outgoing(
    request: number, to: readonly Target[], event: string, payload: Payload, options: SendOptions,
  ): ClientFrame & { kind: "send" } {
    const { format, bytes } = formatted(payload);
    const { payloadBytes, targets } = this.limits;
    if (bytes.length > payloadBytes) {
      throw new FanfareError("argument", `the payload has ${bytes.length} bytes; the server takes ${payloadBytes}`);
    }
    if (to.length === 0) throw new FanfareError("argument", "the send names no target");
    const except = options.except ?? [];
    if (to.length > targets || except.length > targets) {
      throw new FanfareError("argument", `the send names more than ${targets} targets or exceptions`);
    }
    return { kind: "send", request, ack: false, to, except, others: options.others ?? false, event, format, payload: bytes };
  }

  private live(): Link {
    if (this.link === undefined) throw new FanfareError("not-connected", "there is no connection now");
    return this.link;
  }

  private async ask(frame: (request: number) => ClientFrame): Promise<number> {
    const link = this.live();
    const request = ++this.request;
    const asked = frame(request);
    const bytes = encodeClient(asked);
    let timer: ReturnType<typeof setTimeout> | undefined;
    try {
      return await new Promise<number>((settle, reject) => {
        this.waiting.set(request, { settle, reject });
        this.effects.set(request, asked);
        if (asked.kind === "join") this.groups.joinAsked(asked.group);
        if (asked.kind === "leave") this.groups.leaveAsked(asked.group);
        this.inbox.ask();
        const patience = this.options.requestTimeout ?? 10_000;
        timer = setTimeout(() => reject(new FanfareError("timeout", `no answer within ${patience} ms`)), patience);
        link.write(bytes).catch(reject);
      });
    } finally {
      clearTimeout(timer);
      this.waiting.delete(request);
    }
  }

  private async keepConnected(first: Link): Promise<void> {
    let serving = this.serve(first);
    this.refresher?.live();
    let failures = 0;
    for (;;) {
      const since = Date.now();
      let why = await serving;
      this.lose();
      if (Date.now() - since > 10_000) failures = 0;
      for (;;) {
        if (this.isOver() || this.options.reconnect === false || !this.mayComeBack(why)) return this.end(why);
        const retryIn: number = (why.retryAfter ?? 0) + this.pause(failures++);
        this.tell("disconnected", { code: why.code, reason: why.reason, retryIn });
        try {
          await pause(retryIn, this.closing.signal);
          const link: Link = await open(this.options, this.address, this.token, this.closing.signal);
          // Before anything is read: what comes first may be about it already.
          const rejoin = new Rejoin(this.groups, () => ++this.request, (frame) => void link.write(encodeClient(frame)).catch(() => {}));
          this.rejoining = rejoin;
          serving = this.serve(link);
          const lost: Ended | undefined = await this.rejoin(rejoin, link, serving);
          if (lost === undefined) break;
          why = lost;
        } catch (error) {
          if (this.closing.signal.aborted) return this.end(why);
          const { code, retryAfter } = error instanceof FanfareError ? error : { code: undefined, retryAfter: undefined };
          why = { code, reason: error instanceof Error ? error.message : String(error), retryAfter };
        }
      }
    }
  }

  private isOver(): boolean {
    return this.leaving || this.closing.signal.aborted;
  }

  /** Runs one connection to its end. */
  private async serve(link: Link): Promise<Ended> {
    const drop = () => link.drop();
    this.closing.signal.addEventListener("abort", drop, { once: true });
    if (this.closing.signal.aborted) drop();
    const { tokenProvider, requestTimeout = 10_000 } = this.options;
    this.refresher = tokenProvider && new Refresher(
      tokenProvider, requestTimeout,
      (token) => this.refresh(token),
      (reason) => this.tell("refreshFailed", { reason }),
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
    this.effects.clear();
    for (const { reject } of this.waiting.values()) reject(new FanfareError("disconnected", "the connection was lost"));
    this.waiting.clear();
    const { rejoining } = this;
    this.rejoining = undefined;
    for (const frame of rejoining?.release() ?? []) this.report(frame);
  }

  /** Joins the groups again, and makes the connection the live one; or says how it was lost. */
  private async rejoin(rejoin: Rejoin, link: Link, serving: Promise<Ended>): Promise<Ended | undefined> {
    rejoin.go();
    const patience = this.options.requestTimeout ?? 10_000;
    const late = { code: undefined, reason: `the groups were not joined again within ${patience} ms` };
    // A connection that is lost at the end of it was lost.
    const lost = await orAfter<Ended | undefined>(Promise.race([serving, rejoin.done.then(() => undefined)]), patience, late);
    if (lost !== undefined) {
      link.drop();
      const ended = await serving;
      this.lose();
      // What the server said, if only in its last words, is more than that it was late.
      return ended.code || ended.retryAfter !== undefined ? ended : lost;
    }
    this.rejoining = undefined;
    this.link = this.last = link;
    this.tell("reconnected", { connection: link.welcome.connection, ...rejoin.outcome() });
    for (const frame of rejoin.release()) this.report(frame);
    this.refresher?.live();
    return undefined;
  }

  /** What the server said about coming back, or else what its code says. An expired token is no end where there is another. */
  private mayComeBack({ code, retryAfter }: Ended): boolean {
    if (code === undefined || (code === Code.TokenExpired && this.options.tokenProvider !== undefined)) return true;
    return retryAfter === undefined ? mayReconnect(code) : retryAfter > 0;
  }

  /** Any time up to the delay, so that a crowd does not come back in one moment. */
  private pause(failures: number): number {
    const { firstDelay = 250, maxDelay = 30_000 } = this.options.reconnect || {};
    return Math.round(Math.random() * Math.min(firstDelay * 2 ** Math.min(failures, 32), maxDelay));
  }

  private end(ended: Ended): void {
    this.ended = ended;
    this.closing.abort();
    this.tell("closed", ended);
    this.inbox.push(async () => {
      for (const loop of this.loops) loop.end();
    });
  }

  private async take(frame: ServerFrame): Promise<void> {
    if (frame.kind === "unknown") this.unknown++;
    else if (this.rejoining) this.hold(this.rejoining, frame);
    else this.sort(frame);
    // While an answer is waited for the reading goes on: a handler may be waiting for it.
    await this.inbox.room(() => this.waiting.size > 0 || this.rejoining !== undefined || this.closing.signal.aborted);
  }

  /** What comes while groups are joined again is told behind `reconnected`. */
  private hold(rejoin: Rejoin, frame: ServerFrame): void {
    if (rejoin.took(frame)) return;
    // What it means for the token counts now.
    if (frame.kind === "expiring") this.refresher?.expiring();
    for (const early of rejoin.hold(frame)) this.report(early);
  }

  private sort(frame: ServerFrame): void {
    switch (frame.kind) {
      case "ack":
      case "error": {
        const done = frame.kind === "ack";
        const asked = this.effects.get(frame.request);
        this.effects.delete(frame.request);
        // Before the caller hears of it, so that whatever it does next comes after.
        if (asked?.kind === "join") this.groups.joinAnswered(asked.group, done);
        if (asked?.kind === "leave") this.groups.leaveAnswered(asked.group);
        if (asked?.kind === "refresh" && done && this.token !== undefined && asked.request > this.tokenFrom) {
          this.token = asked.token;
          this.tokenFrom = asked.request;
        }
        const waiting = this.waiting.get(frame.request);
        if (frame.kind === "ack") return waiting?.settle(frame.count);
        if (waiting) return waiting.reject(new FanfareError("refused", frame.detail, frame.code));
        if (asked) return;
        return this.report(frame);
      }
      case "joined":
        this.groups.joined(frame.group);
        break;
      case "removed":
        this.groups.ended(frame.group);
        break;
      case "expiring":
        this.refresher?.expiring();
    }
    this.report(frame);
  }

  /** Tells the application. */
  private report(frame: ServerFrame): void {
    switch (frame.kind) {
      case "message":
        return this.inbox.push(() => this.deliver(frame));
      case "error":
        return this.tell("refused", frame);
      case "joined":
        return this.tell("joined", frame);
      case "removed":
        return this.tell("removed", frame);
      case "lagged":
        return this.tell("lagged", frame);
      case "expiring":
        return this.tell("expiring", frame);
      case "goodbye":
        return this.tell("goodbye", frame);
      case "welcome":
      case "ack":
      case "unknown":
    }
  }

  private async deliver({ from, to, event, format, payload }: MessageFrame): Promise<void> {
    const message: Message = { from, to, event, format, payload, text: () => DECODER.decode(payload) };
    for (const handler of this.events.get(event) ?? []) await called(() => handler(payload, message));
    for (const loop of this.loops) await loop.push(message);
  }

  private tell<K extends keyof Happenings>(kind: K, value: Happenings[K]): void {
    this.inbox.push(async () => {
      for (const handler of this.handlers.get(kind) ?? []) await called(() => (handler as Handler<Happenings[K]>)(value));
    });
  }
}

function entered<K, H>(handlers: Map<K, Set<H>>, key: K, handler: H): () => void {
  const known = handlers.get(key) ?? new Set<H>();
  handlers.set(key, known.add(handler));
  return () => {
    known.delete(handler);
    if (known.size === 0) handlers.delete(key);
  };
}

function hash(value: Uint8Array | ArrayBuffer | string): WebTransportHash {
  const bytes = typeof value === "string" ? Uint8Array.from(atob(value), (character) => character.charCodeAt(0)) : value;
  return { algorithm: "sha-256", value: bytes as BufferSource };
}

async function open(
  options: ConnectOptions, address: Address, newest: string | undefined, signal: AbortSignal | undefined,
): Promise<Link> {
  const deadline = AbortSignal.timeout(options.connectTimeout ?? 10_000);
  const either = signal ? AbortSignal.any([signal, deadline]) : deadline;
  try {
    const token = options.tokenProvider ? await unlessAborted(Promise.resolve(options.tokenProvider()), either) : newest;
    const credential: Credential = token === undefined ? { devUser: options.devUser ?? "" } : { token };
    return await Link.open(address, credential, either);
  } catch (error) {
    if (signal?.aborted) throw new FanfareError("aborted", "connecting was aborted", undefined, signal.reason);
    // What the server said is more than that it was late.
    if (error instanceof FanfareError) throw error;
    if (deadline.aborted) throw new FanfareError("timeout", `no connection to ${options.url} in time`);
    throw error;
  }
}
