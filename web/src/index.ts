/**
 * Fanfare in the browser: users and groups over WebTransport, or a WebSocket where that does not get through.
 *
 * @module
 */

export { connect, Client } from "./client.js";
export type {
  ConnectOptions, Counted, Expiring, Handler, Happenings, Invocation, Invoked, Message, MessageHandler, MethodHandler,
  Reconnect, PresenceChange, Reconnected, Removed, SendOptions, Watch, WatchEnded,
} from "./types.js";
export type { ExpiryScope, Format, Formatted, Limits, Present, Sender, Target } from "./frames.js";
export { json, messagePack } from "./payload.js";
export type { Payload } from "./payload.js";
export { Code, codeName, mayReconnect } from "./codes.js";
export { FanfareError } from "./errors.js";
export type { Transport } from "./session.js";
export { visible } from "./visible.js";
export type { FanfareErrorKind } from "./errors.js";
