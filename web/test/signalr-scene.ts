/**
 * What a case with SignalR's own client has: connections, and a hand on the servers. It runs under Node and in pages.
 *
 * In: a world, which is where the servers are and who acts for the case. Out: connections that keep what they hear.
 * Invariant: whatever a case has connected is stopped with it, and nothing waits without a deadline.
 */

import {
  HttpTransportType, HubConnectionBuilder, LogLevel, type HubConnection, type ILogger, type IStreamResult,
} from "@microsoft/signalr";
import { MessagePackHubProtocol } from "@microsoft/signalr-protocol-msgpack";

const DEADLINE = 30_000;

export type Encoding = "json" | "messagepack";

/** Without an application; with examples/everything.rs; one that wants tokens; one that has little patience. */
export type Place = "dev" | "everything" | "tokens" | "brief";

export interface World {
  /** Keeps the users and groups of this run apart from those of others. */
  readonly tag: string;
  readonly encoding: Encoding;
  /** Where SignalR's clients connect. */
  readonly urls: Readonly<Record<Place, string>>;
  /** Has the test do something, and gives what came of it. */
  ask(what: string, ...words: string[]): Promise<string>;
}

export interface Case {
  readonly name: string;
  run(scene: Scene): Promise<void>;
}

export interface Options {
  user?: string;
  encoding?: Encoding;
  /** Pauses before it tries to come back, in milliseconds; without them it does not. */
  reconnect?: number[];
  skipNegotiation?: boolean;
  token?: () => string | Promise<string>;
  /** Events that it keeps. */
  hear?: string[];
  /** How often it pings, and how long it waits for the server, in milliseconds. */
  pings?: { every: number; patience: number };
  before?: (hub: HubConnection) => void;
}

/** A connection, and what has happened to it. */
export class Client {
  /** Events with their arguments. */
  readonly heard: unknown[][] = [];
  /** Of each end that was final: its error. */
  readonly closed: string[] = [];
  /** Of each return: the connection's new id. */
  readonly returned: (string | undefined)[] = [];
  /** Messages that consisted of a ping. */
  pings = 0;

  constructor(readonly hub: HubConnection, readonly name: string) {}

  get id(): string {
    if (this.hub.connectionId === null) throw new Error("the connection has no id");
    return this.hub.connectionId;
  }

  /** What it has heard of one event. */
  of(event: string): unknown[][] {
    return this.heard.filter(([heard]) => heard === event).map(([, ...rest]) => rest);
  }

  /** The text of the error that a call ends with. */
  async error(method: string, ...args: unknown[]): Promise<string> {
    return failure(this.hub.invoke(method, ...args));
  }
}

export class Scene {
  private readonly clients: HubConnection[] = [];
  /** The test's hand on the servers. */
  readonly ask: World["ask"];
  readonly encoding: Encoding;

  constructor(private readonly world: World) {
    this.ask = world.ask.bind(world);
    this.encoding = world.encoding;
  }

  /** A name that no other run uses. */
  named(name: string): string {
    return `${this.world.tag}-${name}`;
  }

  /** A connection that has not been started. */
  client(place: Place, options: Options = {}): Client {
    const { user, reconnect, token, pings, skipNegotiation = false } = options;
    const url = this.world.urls[place] + (user === undefined ? "" : `?user=${encodeURIComponent(this.named(user))}`);
    const builder = new HubConnectionBuilder();
    const transport = skipNegotiation ? { skipNegotiation, transport: HttpTransportType.WebSockets } : {};
    builder.withUrl(url, { ...transport, ...(token && { accessTokenFactory: token }) });
    if ((options.encoding ?? this.encoding) === "messagepack") builder.withHubProtocol(new MessagePackHubProtocol());
    if (reconnect) builder.withAutomaticReconnect(reconnect);
    // The client says of each WebSocket message how long it is, and not that it was a ping.
    const ping = (options.encoding ?? this.encoding) === "json" ? "String data of length 11" : "of length 3";
    let client: Client | undefined;
    const logger: ILogger = {
      log(level, message) {
        if (level === LogLevel.Trace && message.includes("data received") && message.includes(`${ping}.`)) {
          if (client) client.pings++;
        }
      },
    };
    const hub = builder.configureLogging(logger).build();
    if (pings) {
      hub.keepAliveIntervalInMilliseconds = pings.every;
      hub.serverTimeoutInMilliseconds = pings.patience;
    }
    const made = client = new Client(hub, this.named(user ?? ""));
    for (const event of options.hear ?? []) hub.on(event, (...args) => void made.heard.push([event, ...args]));
    hub.onclose((error) => void made.closed.push(error?.message ?? ""));
    hub.onreconnected((id) => void made.returned.push(id));
    options.before?.(hub);
    this.clients.push(hub);
    return made;
  }

  async connect(place: Place, options: Options = {}): Promise<Client> {
    const client = this.client(place, options);
    await client.hub.start();
    return client;
  }

  async end(): Promise<void> {
    await Promise.all(this.clients.map((hub) => hub.stop()));
  }
}

/** Waits until something is so. */
export async function until(what: string, isSo: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + DEADLINE;
  while (!(await isSo())) {
    if (Date.now() > deadline) throw new Error(`never so: ${what}`);
    await new Promise((settle) => setTimeout(settle, 10));
  }
}

/** The text of the error that something ends with. */
export async function failure(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    (value) => { throw new Error(`it did not fail, and gave ${show(value)}`); },
    (error: unknown) => (error instanceof Error ? error.message : String(error)),
  );
}

/** A stream's items to its end, and the error that it ends with. */
export function items(stream: IStreamResult<unknown>): Promise<{ items: unknown[]; error?: string }> {
  return new Promise((settle) => {
    const items: unknown[] = [];
    stream.subscribe({
      next: (item) => void items.push(item),
      complete: () => settle({ items }),
      error: (error: Error) => settle({ items, error: error.message }),
    });
  });
}

/** As a text: what JSON has no word for is said, and the order of members does not count. */
export function show(value: unknown): string {
  return JSON.stringify(value, (_, inner: unknown) => {
    if (inner === undefined) return "(undefined)";
    if (inner instanceof Uint8Array) return `(bytes) ${[...inner].join(" ")}`;
    if (typeof inner !== "object" || inner === null || Array.isArray(inner)) return inner;
    return Object.fromEntries(Object.entries(inner).sort(([one], [other]) => (one < other ? -1 : 1)));
  });
}

export function same(found: unknown, wanted: unknown): void {
  if (show(found) !== show(wanted)) throw new Error(`found ${show(found)}\nwanted ${show(wanted)}`);
}

export function matches(found: string, wanted: RegExp): void {
  if (!wanted.test(found)) throw new Error(`found ${show(found)}\nwanted ${wanted}`);
}

/** What a caller is told where a method has refused, and may say why. */
export function unexpected(method: string, reason: string): string {
  return `An unexpected error occurred invoking '${method}' on the server. HubException: ${reason}`;
}
