/** The errors that an application sees. Each has a `kind`, and the server's `code` where there is one. */

import { codeName } from "./codes.js";

/** What went wrong. */
export type FanfareErrorKind =
  /** This browser has no WebTransport, or the server no application that could be called; nothing was sent. */
  | "unsupported"
  /** An argument is not what it must be; nothing was sent. */
  | "argument"
  /** No connection could be made. Browsers do not tell pages why; the message lists the possible reasons. */
  | "unreachable"
  /** The server closed the connection, with a code. */
  | "closed"
  /** The server refused a request, with a code; the connection goes on. */
  | "refused"
  /** A call did not end well: the server says so with a code, or the application with a number of its own. */
  | "failed"
  /** What came of a call cannot be read. */
  | "unreadable"
  /** The connection was lost before the answer came; whether the request was carried out is not known. */
  | "disconnected"
  /** There is no connection now; nothing was sent. */
  | "not-connected"
  /** No answer came in time. Whether the request was carried out is not known, where the message does not say. */
  | "timeout"
  /** The application aborted it. */
  | "aborted"
  /** The server broke the protocol. */
  | "protocol";

/** The one class of errors of this library. */
export class FanfareError extends Error {
  /** What went wrong. */
  readonly kind: FanfareErrorKind;
  /**
   * The server's code, or the one that this client ended the connection with; see {@link Code}. From 10,000 to 63,999
   * it is a number of the application's own.
   */
  readonly code: number | undefined;
  /** What is wrong: the message without the code, in the server's or the application's words where they have some. */
  readonly detail: string;
  /** What the application says of a call that failed to programs: the value, where it is JSON. */
  readonly data: unknown;
  /** In how many milliseconds the client may come back at the earliest, as the server said; 0 is never. */
  readonly retryAfter: number | undefined;

  constructor(
    kind: FanfareErrorKind, message: string, code?: number, cause?: unknown, retryAfter?: number, data?: unknown,
  ) {
    super(code === undefined ? message : `${message} (${told(code)})`, cause === undefined ? undefined : { cause });
    this.name = "FanfareError";
    this.kind = kind;
    this.code = code;
    this.detail = message;
    this.data = data;
    this.retryAfter = retryAfter;
  }
}

/** A code, with its name where it has one here. */
function told(code: number): string {
  const name = codeName(code);
  return name === String(code) ? `code ${code}` : `code ${code}, ${name}`;
}
