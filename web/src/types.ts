/** What an application gives to the client and gets from it: options, messages, happenings. No code, no invariant. */

import type { ExpiryScope, Format, Sender, Target } from "./frames.js";

/** How the client goes on after an outage. */
export interface Reconnect {
  /** The pause before the first try, in milliseconds. Doubled each time, and spread by chance. */
  readonly firstDelay?: number;
  /** The longest pause, in milliseconds. */
  readonly maxDelay?: number;
}

/** What {@link connect} takes. */
export interface ConnectOptions {
  /** `https://host:port/fanfare`. */
  readonly url: string;
  /** A signed token. Never put it into the URL. */
  readonly token?: string;
  /** Gives a token for each connection, and a newer one when the server says that it ends. One that fails is asked again. */
  readonly tokenProvider?: () => string | Promise<string>;
  /** A user name without proof, which only a development server takes. */
  readonly devUser?: string;
  /** SHA-256 of certificates that are trusted although no authority vouches for them: for development. */
  readonly serverCertificateHashes?: readonly (Uint8Array | ArrayBuffer | string)[];
  /** Ends the connecting, and later the client. */
  readonly signal?: AbortSignal;
  /** Whether and how to connect again after an outage. By default for ever, after 0 to 0.25 s at first, and up to 30 s. */
  readonly reconnect?: Reconnect | false;
  /** How long connecting may take, in milliseconds. Default 10,000. */
  readonly connectTimeout?: number;
  /** How long an answer may take, in milliseconds. Default 10,000. */
  readonly requestTimeout?: number;
}

/** What a send may say beside the message. */
export interface SendOptions {
  /** Connections that get no copy. */
  readonly except?: readonly string[];
  /** Whether this connection gets none itself. */
  readonly others?: boolean;
}

/** A message. */
export interface Message {
  /** Who sent it; the server says so, not the sender. */
  readonly from: Sender;
  /** The target that reached this client. */
  readonly to: Target;
  /** Its name. */
  readonly event: string;
  /** What its bytes are written in, as the sender says. */
  readonly format: Format;
  /** Its bytes. */
  readonly payload: Uint8Array;
  /** The same as a text, whatever the format. */
  text(): string;
}

/** A membership that the server ended. */
export interface Removed {
  readonly group: string;
  readonly code: number;
  readonly reason: string;
}

/** Access that ends soon. */
export interface Expiring {
  readonly scope: ExpiryScope;
  readonly seconds: number;
}

/** What came back after an outage, and what did not. */
export interface Reconnected {
  /** The new connection's id. */
  readonly connection: string;
  /** The groups that it is a member of again. */
  readonly rejoined: readonly string[];
  /** Those that the server did not let it into again, and why. They are not tried again. */
  readonly refused: readonly Removed[];
  /** Those that this client had not joined itself: an operator had added it. They ended with the connection. */
  readonly lost: readonly string[];
}

/** What can happen beside messages. */
export interface Happenings {
  /** A membership began, with so many members: asked for, or made by an operator. After an outage `reconnected` tells of it instead. */
  joined: { readonly group: string; readonly members: number };
  removed: Removed;
  expiring: Expiring;
  /** Messages were dropped because this client was too slow for them. */
  lagged: { readonly dropped: number };
  /** A send that waited for no answer was refused. */
  refused: { readonly request: number; readonly code: number; readonly detail: string };
  /** The server is about to close the connection; it wants to see this client again in so many milliseconds, with 0 never by itself. */
  goodbye: { readonly code: number; readonly reason: string; readonly retryAfter: number };
  /** The connection was lost, or a try failed, and it is tried again in so many milliseconds. Where it is not, `closed` says so. */
  disconnected: { readonly code: number | undefined; readonly reason: string; readonly retryIn: number };
  /** It is there again, under another id, and in its groups. */
  reconnected: Reconnected;
  /** A token could not be renewed. It is tried again as long as the connection lasts. */
  refreshFailed: { readonly reason: string };
  /** Nothing will happen any more. */
  closed: { readonly code: number | undefined; readonly reason: string };
}

/** Called when something happens. One that returns a promise is waited for before the next. */
export type Handler<T> = (value: T) => void | Promise<void>;

/** Called for a message. One that returns a promise is waited for before the next. */
export type MessageHandler = (payload: Uint8Array, message: Message) => void | Promise<void>;
