/**
 * What an application calls: a client that stays connected.
 *
 * In: the application's calls and handlers. Out: requests in the order of the calls, answers, and events. Invariant:
 * nothing is sent that the server would refuse for its size.
 */

import { datagramBytes, encodeClient } from "./codec.js";
import { FanfareError } from "./errors.js";
import { Code } from "./codes.js";
import { CALLS, DATAGRAM_BYTES, PRESENCE, type ClientFrame, type Limits, type Target } from "./frames.js";
import { encoded, outgoing } from "./outgoing.js";
import type { Payload } from "./payload.js";
import { Servers } from "./servers.js";
import type { Transport } from "./session.js";
import { PREFIX_BYTES } from "./stream.js";
import { Supervisor } from "./supervisor.js";
import type {
  ConnectOptions, Counted, Expiring, Handler, Happenings, Invocation, Message, MessageHandler, MethodHandler, Removed,
  SendOptions, Watch,
} from "./types.js";

/** Connects. Rejects with a {@link FanfareError} that says why it did not work, or with the token provider's error. */
export async function connect(options: ConnectOptions): Promise<Client> {
  return Client.connect(options);
}

/** A client of a Fanfare server. */
export class Client implements AsyncIterable<Message> {
  private constructor(private readonly supervisor: Supervisor) {}

  /** @internal */
  static async connect(options: ConnectOptions): Promise<Client> {
    const servers = new Servers(options);
    return new Client(new Supervisor(options, servers, await servers.connect()));
  }

  /** The id of the connection, or of the last one during an outage. */
  get connectionId(): string {
    return this.supervisor.welcome.connection;
  }

  /** Which of its addresses the connection goes to, or the last one went to during an outage. */
  get url(): string {
    return this.supervisor.url;
  }

  /** Who the server takes this client for. */
  get user(): string {
    return this.supervisor.welcome.user;
  }

  /** What this connection may send. */
  get limits(): Limits {
    return this.supervisor.welcome.limits;
  }

  /** The server's name and version. */
  get server(): string {
    return this.supervisor.welcome.server;
  }

  /**
   * How many frames of the server were skipped, because this version does not know them: the server is of a later
   * version, and tells of something that this client cannot show.
   */
  get unknownFrames(): number {
    return this.supervisor.unknownFrames;
  }

  /** What the connection goes over, or the last one during an outage. */
  get transport(): Transport {
    return this.supervisor.transport;
  }

  /** Whether there is a connection now. */
  get connected(): boolean {
    return this.supervisor.connected;
  }

  /** Whether the server has an application, whose methods can be called. */
  get callable(): boolean {
    return (this.supervisor.welcome.features & CALLS) !== 0n;
  }

  /** Becomes a member of a group; returns how many members it has. Joined again after an outage. */
  async join(group: string): Promise<number> {
    return this.supervisor.ask((request) => ({ kind: "join", request, group }));
  }

  /** Stops being a member; returns how many members are left. Also during an outage the group is not joined again. */
  async leave(group: string): Promise<number> {
    this.supervisor.leaving(group);
    return this.supervisor.ask((request) => ({ kind: "leave", request, group }));
  }

  /** How many connections a target has now. */
  async count(target: Target): Promise<number> {
    return this.supervisor.ask((request) => ({ kind: "count", request, target }));
  }

  /**
   * Watches a group: gives everyone who is present there, and then changes, for a loop. No membership is needed, but
   * the right to know it (`presence`). It goes on over outages: what has changed meanwhile is told as a change.
   */
  async watch(group: string): Promise<Watch> {
    if ((this.supervisor.live().welcome.features & PRESENCE) === 0n) {
      throw new FanfareError("refused", "this server has no presence", Code.NotKnownHere);
    }
    // First, so that there is a place for what comes before the answer.
    const watch = this.supervisor.watches.begin(group);
    const answered = this.supervisor.watches.askedFor(watch);
    try {
      await this.supervisor.ask((request) => ({ kind: "watch", request, group }));
    } catch (error) {
      // Who is refused for good watches nothing there, so that there is nothing to end.
      if (error instanceof FanfareError && error.kind === "refused" && error.code !== undefined) {
        answered.refused({ code: error.code, reason: error.message });
      } else watch.close();
      throw error;
    }
    answered.done();
    return watch;
  }

  /** Goes on with another token of the same user; returns how many groups this client is still in. */
  async refresh(token: string): Promise<number> {
    return this.supervisor.ask((request) => ({ kind: "refresh", request, token }));
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

  /**
   * Sends to several targets; who is reached in several ways gets one copy. Returns the request's number, which
   * `refused` carries.
   */
  async send(to: readonly Target[], event: string, payload: Payload, options: SendOptions = {}): Promise<number> {
    const frame = this.outgoing(this.supervisor.requests.next(), to, event, payload, options);
    const link = this.supervisor.live();
    const bytes = encoded(frame, this.limits);
    await this.supervisor.requests.send(() => link.write(bytes));
    return frame.request;
  }

  /** The same, and waits for the answer. Returns to how many connections the message was queued. */
  async sendAcked(to: readonly Target[], event: string, payload: Payload, options: SendOptions = {}): Promise<number> {
    return (await this.sendCounted(to, event, payload, options)).count;
  }

  /** The same. Of a cluster it also gives the nodes that did not say in time how many there were on them. */
  async sendCounted(
    to: readonly Target[], event: string, payload: Payload, options: SendOptions = {},
  ): Promise<Counted> {
    const frame = (request: number): ClientFrame =>
      ({ ...this.outgoing(request, to, event, payload, options), ack: true });
    return this.supervisor.askCounted(frame);
  }

  /**
   * Sends a message that may get lost, as a datagram: for positions, cursors, levels. Recipients get it as any message.
   * Throws where it does not fit.
   */
  unreliable(to: Target, event: string, payload: Payload, options: SendOptions = {}): void {
    const frame = this.outgoing(this.supervisor.requests.next(), [to], event, payload, options);
    const link = this.supervisor.live();
    const bytes = datagramBytes(link.welcome, to, event, frame.payload);
    if (bytes > DATAGRAM_BYTES) {
      const why = `the message has ${bytes} bytes as a datagram; at most ${DATAGRAM_BYTES} get through`;
      throw new FanfareError("argument", why);
    }
    link.datagram(encodeClient(frame).subarray(PREFIX_BYTES));
  }

  /**
   * Invokes a method of the application, and waits for its value, as long as the method takes. Arguments go as JSON;
   * async iterables among them are streams. Rejects with a {@link FanfareError}: `"failed"` where the method did not
   * end well, `"refused"` where it was not begun, `"unsupported"` where the server has no application.
   */
  async invoke<T>(method: string, ...args: unknown[]): Promise<T> {
    return this.call({ method, args });
  }

  /** The same with all that a call can have. */
  async call<T>(invocation: Invocation): Promise<T> {
    return this.supervisor.calls().value(invocation) as Promise<T>;
  }

  /**
   * Invokes a method whose result is items: for a loop, which takes them as fast as it goes round. One that is left
   * tells the method to stop. Throws where the call cannot be begun; what else goes wrong is told in the loop.
   */
  stream<T>(method: string, ...args: unknown[]): AsyncIterableIterator<T> {
    return this.streamCall({ method, args });
  }

  /** The same with all that a call can have. */
  streamCall<T>(invocation: Invocation): AsyncIterableIterator<T> {
    return this.supervisor.calls().items(invocation);
  }

  /**
   * Answers when the application invokes this method here, with what `handler` returns or its promise gives. An error
   * is told to the application. The handler may use the client; its `this` has the `signal` that says when nobody waits
   * for its answer any more. A later one for the same method takes its place. Returns a function that ends that.
   */
  onInvoke<A extends any[]>(method: string, handler: MethodHandler<A>): () => void {
    return this.supervisor.handlers.on(method, handler as MethodHandler);
  }

  /** Calls `handler` for every message with this event. Returns a function that ends that. */
  on(event: string, handler: MessageHandler): () => void {
    return this.supervisor.events.on(event, handler);
  }

  /** Calls `handler` when this client is removed from a group. */
  onRemoved(handler: Handler<Removed>): () => void {
    return this.when("removed", handler);
  }

  /** Calls `handler` when access is about to end. With a `tokenProvider` it is renewed without that. */
  onExpiring(handler: Handler<Expiring>): () => void {
    return this.when("expiring", handler);
  }

  /** Calls `handler` for every event of this kind. Returns a function that ends that. */
  when<K extends keyof Happenings>(kind: K, handler: Handler<Happenings[K]>): () => void {
    return this.supervisor.events.when(kind, handler);
  }

  /** Every message from now on, in a loop. A loop that falls behind stops the reading, as a slow handler does. */
  [Symbol.asyncIterator](): AsyncIterator<Message> {
    return this.supervisor.events.loop();
  }

  /** Closes: what was sent before is carried out first, for five seconds at most. Nothing can be asked any more. */
  async close(): Promise<void> {
    return this.supervisor.close();
  }

  private outgoing(
    request: number, to: readonly Target[], event: string, payload: Payload, options: SendOptions,
  ): ClientFrame & { kind: "send" } {
    return outgoing(request, to, event, payload, options, this.limits);
  }
}
