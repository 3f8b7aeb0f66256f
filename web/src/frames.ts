/** The frames as values: what a client sends to the server, and the server to a client. No code but constants. */

/** The version of the protocol. */
export const PROTOCOL_VERSION = 1;
/** The longest frame of any server, its length not counted. */
export const FRAME_CEILING = (1 << 20) + 2048;
/** The most bytes of a frame in a datagram. */
export const DATAGRAM_BYTES = 1100;
/** The most bytes of a name. */
export const NAME_BYTES = 256;
/** The feature of which the frames about calls are a part. */
export const CALLS = 1n << 1n;
/** The feature of which the frames about who is in a group are a part. */
export const PRESENCE = 1n << 2n;
/** The formats that have names, each at its number. */
export const FORMATS: readonly Format[] = ["binary", "text", "json", "msgpack"];

/** Where a message goes. */
export type Target =
  | { readonly connection: string }
  | { readonly user: string }
  | { readonly group: string }
  | "all";

/** Who a message is from. The server fills it in. */
export type Sender = { readonly connection: string; readonly user: string } | "server";

/** What a connection may send. */
export interface Limits {
  /** The longest frame, in bytes. */
  readonly frameBytes: number;
  /** The longest payload, in bytes. */
  readonly payloadBytes: number;
  /** Groups that it may be in. */
  readonly groups: number;
  /** Targets, or exceptions, of one send. */
  readonly targets: number;
}

/** Who connects. */
export type Credential = { readonly token: string } | { readonly devUser: string };

/** What a payload is written in: a name, or the number of a format that came later. */
export type Format = "binary" | "text" | "json" | "msgpack" | number;

/** Bytes, and their format. */
export interface Formatted {
  readonly format: Format;
  readonly bytes: Uint8Array;
}

/** Why a call did not end well. */
export interface Failure {
  /** One of the protocol's codes, or a number of the application's own, from 10,000 to 63,999. */
  readonly code: number;
  /** What is wrong, for a person. */
  readonly detail: string;
  /** What the application says of it to programs. Empty where it says nothing. */
  readonly data: Formatted;
}

/** What came of a call. */
export type Outcome = "nothing" | { readonly value: Formatted } | { readonly failed: Failure };

/** A call, as it goes to the server. */
export interface Invoke {
  readonly request: number;
  readonly method: string;
  /** How many items of the result may come at first. 0: the result is a value. */
  readonly credit: number;
  /** The client's own streams that are arguments. */
  readonly streams: readonly number[];
  readonly arguments: Formatted;
}

/** A user who is present in a group. */
export interface Present {
  readonly user: string;
  /** With how many connections: at least one. */
  readonly connections: number;
  /** What the application says of the user to everyone who may watch, where it says anything. */
  readonly data: Formatted | undefined;
}

/** A send, as it goes to the server. */
export interface Send {
  readonly request: number;
  readonly ack: boolean;
  readonly to: readonly Target[];
  readonly except: readonly string[];
  readonly others: boolean;
  readonly event: string;
  readonly format: Format;
  readonly payload: Uint8Array;
}

/** What a client sends. */
export type ClientFrame =
  | { readonly kind: "hello"; readonly protocol: number; readonly features: bigint; readonly credential: Credential }
  | { readonly kind: "join"; readonly request: number; readonly group: string }
  | { readonly kind: "leave"; readonly request: number; readonly group: string }
  | ({ readonly kind: "send" } & Send)
  | { readonly kind: "count"; readonly request: number; readonly target: Target }
  | { readonly kind: "refresh"; readonly request: number; readonly token: string }
  | ({ readonly kind: "invoke" } & Invoke)
  | { readonly kind: "cancel"; readonly request: number }
  | { readonly kind: "credit"; readonly request: number; readonly items: number }
  | { readonly kind: "streamItem"; readonly stream: number; readonly item: Formatted }
  | { readonly kind: "streamEnd"; readonly stream: number; readonly failure: Failure | undefined }
  | { readonly kind: "clientCompletion"; readonly call: bigint; readonly outcome: Outcome }
  | { readonly kind: "watch"; readonly request: number; readonly group: string }
  | { readonly kind: "unwatch"; readonly request: number; readonly group: string };

/** The server's first frame. */
export interface Welcome {
  readonly kind: "welcome";
  readonly protocol: number;
  /** What the server chose of the features that were offered. */
  readonly features: bigint;
  readonly connection: string;
  /** How many leading bytes of connections' ids name the node that they are on. */
  readonly nodeBytes: number;
  /** Reserved: 16 zeros. */
  readonly session: Uint8Array;
  /** Reserved: 0. */
  readonly position: bigint;
  readonly user: string;
  readonly limits: Limits;
  readonly server: string;
}

/** A message, as it comes. */
export interface MessageFrame {
  readonly kind: "message";
  readonly from: Sender;
  readonly to: Target;
  readonly event: string;
  readonly format: Format;
  readonly payload: Uint8Array;
}

/** What ends when access expires: the token and with it the connection, or what this client has of so many groups. */
export type ExpiryScope = "token" | { readonly groups: number };

/** What the server says of the client's own calls and streams. */
export type CallFrame =
  | { readonly kind: "completion"; readonly request: number; readonly outcome: Outcome }
  | { readonly kind: "resultItem"; readonly request: number; readonly item: Formatted }
  | { readonly kind: "streamCredit"; readonly stream: number; readonly items: number }
  | { readonly kind: "streamStop"; readonly stream: number };

/** A method of the client that the server invokes. */
export interface ClientInvoke {
  readonly kind: "clientInvoke";
  /** To be repeated in the answer, exactly. */
  readonly call: bigint;
  readonly method: string;
  readonly arguments: Formatted;
}

/** What the server wants of the client's methods. */
export type AskFrame = ClientInvoke | { readonly kind: "clientCancel"; readonly call: bigint };

/** What the server tells of a group that is watched. */
export type PresenceFrame =
  | {
    readonly kind: "snapshot";
    readonly group: string;
    readonly revision: number;
    /** What was told before counts no longer. */
    readonly begins: boolean;
    /** It is the last part. */
    readonly complete: boolean;
    readonly present: readonly Present[];
  }
  | {
    readonly kind: "changes";
    readonly group: string;
    readonly revision: number;
    readonly present: readonly Present[];
    readonly left: readonly string[];
  }
  | { readonly kind: "watchEnded"; readonly group: string; readonly code: number; readonly reason: string };

/** What the server sends. */
export type ServerFrame =
  | Welcome
  | MessageFrame
  | PresenceFrame
  | CallFrame
  | AskFrame
  /** Nodes that did not say in time what there is on them are `silent`. */
  | { readonly kind: "ack"; readonly request: number; readonly count: number; readonly silent?: readonly string[] }
  | { readonly kind: "error"; readonly request: number; readonly code: number; readonly detail: string }
  | { readonly kind: "joined"; readonly group: string; readonly members: number }
  | { readonly kind: "removed"; readonly group: string; readonly code: number; readonly reason: string }
  | { readonly kind: "goodbye"; readonly code: number; readonly reason: string; readonly retryAfter: number }
  | { readonly kind: "lagged"; readonly dropped: number }
  | { readonly kind: "expiring"; readonly scope: ExpiryScope; readonly seconds: number }
  /** Of a later version, in whole or in part. */
  | { readonly kind: "unknown"; readonly what: string };
