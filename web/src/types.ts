/** What an application gives to the client and gets from it: options, messages, events. No code. */

import type { ExpiryScope, Format, Formatted, Present, Sender, Target } from "./frames.js";
import type { Transport } from "./session.js";

/** How the client goes on after an outage. With several addresses a pause is before each round of all of them. */
export interface Reconnect {
  /**
   * The longest pause before the first attempt, in milliseconds. Doubled each time; the pause is a random part of it.
   */
  readonly firstDelay?: number;
  /** The longest pause, in milliseconds. */
  readonly maxDelay?: number;
}

/** What {@link connect} takes. */
export interface ConnectOptions {
  /**
   * `https://host:port/fanfare`; or several, up to 256, of servers that are one hub. The client begins at one of them
   * by chance. Where a server cannot be used, or the connection to it is lost, it goes on at another; what is said
   * about this client (a token that is not valid, a ban) is the same everywhere, and no other is asked.
   */
  readonly url: string | readonly string[];
  /**
   * What may be tried, where the browser has it. Default: both. WebTransport goes first, and a WebSocket helps where
   * UDP does not get through. Once it has helped it goes alone for five minutes, and then WebTransport is tried again.
   */
  readonly transports?: readonly Transport[];
  /**
   * Where the WebSocket is. Default: `url` with `wss` (or `ws`) in place of `https` (or `http`). Where there are
   * several: one for all of them, or as many in the same order.
   */
  readonly websocketUrl?: string | readonly string[];
  /** After how many milliseconds without an answer to WebTransport the WebSocket is tried, too. Default 1,000. */
  readonly websocketAfter?: number;
  /** A signed token. Never put it into the URL. */
  readonly token?: string;
  /** Gives a token for each connection, and a newer one when it is about to expire. One that fails is asked again. */
  readonly tokenProvider?: () => string | Promise<string>;
  /** A user name without proof, which only a development server takes. */
  readonly devUser?: string;
  /** SHA-256 of certificates that are trusted although no authority has signed them: for development. */
  readonly serverCertificateHashes?: readonly (Uint8Array | ArrayBuffer | string)[];
  /** Aborts connecting, and later closes the client. */
  readonly signal?: AbortSignal;
  /** Whether and how to reconnect. By default without end, after up to 0.25 s at first, and up to 30 s later. */
  readonly reconnect?: Reconnect | false;
  /**
   * How long connecting may take, in milliseconds. Default 10,000. With several addresses each may take an equal part
   * of it, and 2,000 at least; the last that is left may take all of it.
   */
  readonly connectTimeout?: number;
  /**
   * How long an answer may take, in milliseconds. Default 10,000. Where 1,024 requests have no answer the next waits
   * until one has, and that counts.
   */
  readonly requestTimeout?: number;
}

/** Options of a send. */
export interface SendOptions {
  /** Connections that get no copy. */
  readonly except?: readonly string[];
  /** Whether this connection gets no copy itself. */
  readonly others?: boolean;
}

/** To how many connections a message was queued, as far as it is known. */
export interface Counted {
  /** How many, on all nodes that said so. */
  readonly count: number;
  /**
   * Nodes of a cluster that did not say so within a second, by the names that their operators know them by; none from a
   * server that does not name them.
   */
  readonly silent: readonly string[];
}

/** A call of a method of the application, with all that it can have. */
export interface Invocation {
  /** Which method. Case counts. */
  readonly method: string;
  /**
   * The arguments, which go as JSON; or all of them as they are, in the format that {@link messagePack} for example
   * says. Async iterables among them are uploads.
   */
  readonly args?: readonly unknown[] | Formatted;
  /**
   * Streams that are arguments: async iterables, or any others. Each is read as the server takes its items, and closed
   * when it takes no more. An item goes as JSON, and bytes as they are.
   */
  readonly uploads?: readonly (AsyncIterable<unknown> | Iterable<unknown>)[];
  /** Cancels the call. */
  readonly signal?: AbortSignal;
}

/** What a method of the client is called with, beside its arguments: its `this`. */
export interface Invoked {
  /** The method's name. */
  readonly method: string;
  /** Aborts when nobody waits for the answer any more. */
  readonly signal: AbortSignal;
}

/** A method of the client, which the application invokes. What it returns, or its promise gives, is the answer. */
export type MethodHandler<A extends any[] = any[]> = (this: Invoked, ...args: A) => unknown;

/** A message. */
export interface Message {
  /** Who sent it, as the server says. */
  readonly from: Sender;
  /** The target that reached this client. */
  readonly to: Target;
  /** The name of the event. */
  readonly event: string;
  /** The format of the payload, as the sender says. */
  readonly format: Format;
  /** The payload. */
  readonly payload: Uint8Array;
  /** The payload as text, whatever its format; what is not UTF-8 in it becomes U+FFFD. */
  text(): string;
}

/** A membership that the server ended. */
export interface Removed {
  readonly group: string;
  readonly code: number;
  readonly reason: string;
}

/** What has changed in a group that is watched. The first has everyone who is present, and may have nobody. */
export interface PresenceChange {
  /** Users who have come, or are otherwise than before. */
  readonly present: readonly Present[];
  /** Users who were present, and are not any more. */
  readonly left: readonly string[];
}

/** Why the server has ended a watch. */
export interface WatchEnded {
  readonly code: number;
  readonly reason: string;
}

/**
 * Who is in a group, and how that changes: for a loop, whose first turn has everyone who is present, and whose others
 * have changes, as many at a time as there are. The loop ends when the server ends the watch, when it is closed, and
 * when the client is. A loop that is left closes the watch. What the server refuses for now after an outage (a node
 * that is cut off from its cluster, say) ends nothing: it is asked for again, after pauses that grow to ten seconds.
 */
export interface Watch extends AsyncIterable<PresenceChange> {
  readonly group: string;
  /** Who is present, as was last heard; during an outage, and until the server tells it again, as it was before. */
  readonly present: readonly Present[];
  /** Why the server has ended the watch, if it has. */
  readonly ended: WatchEnded | undefined;
  /** Ends the watch. */
  close(): void;
}

/** Access that ends soon. */
export interface Expiring {
  readonly scope: ExpiryScope;
  readonly seconds: number;
}

/** The groups after an outage. */
export interface Reconnected {
  /** The new connection's id. */
  readonly connection: string;
  /** What the new connection goes over. */
  readonly transport: Transport;
  /** Which of the client's addresses it goes to. */
  readonly url: string;
  /** The groups that it is a member of again. */
  readonly rejoined: readonly string[];
  /**
   * Those that the server refused to let it join again, and why. They are not tried again; where it was for now,
   * another connection is tried instead.
   */
  readonly refused: readonly Removed[];
  /** Those that this client had not joined itself: an operator had added it. They ended with the connection. */
  readonly lost: readonly string[];
}

/** The events beside messages. */
export interface Happenings {
  /**
   * This client became a member, because it asked to or an operator added it. After an outage `reconnected` says so.
   */
  joined: { readonly group: string; readonly members: number };
  removed: Removed;
  expiring: Expiring;
  /**
   * Messages were dropped, because this client read too slowly; or, in a cluster, messages of another node were lost on
   * the way, and some may have been for this client. `dropped` is how many at most.
   */
  lagged: { readonly dropped: number };
  /** A send that waited for no answer was refused. */
  refused: { readonly request: number; readonly code: number; readonly detail: string };
  /**
   * The server is about to close. The client may come back to it after `retryAfter` milliseconds; 0 is never by itself.
   */
  goodbye: { readonly code: number; readonly reason: string; readonly retryAfter: number };
  /**
   * The connection was lost, or an attempt failed; the next is in `retryIn` milliseconds. At the end `closed` comes.
   */
  disconnected: { readonly code: number | undefined; readonly reason: string; readonly retryIn: number };
  /** There is a connection again, with another id, and in its groups. */
  reconnected: Reconnected;
  /** The token could not be renewed. It is tried again as long as the connection lasts. */
  refreshFailed: { readonly reason: string };
  /** The client is closed, for good. */
  closed: { readonly code: number | undefined; readonly reason: string };
}

/** Called when something happens. One that returns a promise is waited for before the next. */
export type Handler<T> = (value: T) => void | Promise<void>;

/** Called for a message. One that returns a promise is waited for before the next. */
export type MessageHandler = (payload: Uint8Array, message: Message) => void | Promise<void>;
