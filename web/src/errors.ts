/** The errors that an application sees. Each has a `kind`, and the server's `code` where there is one. */

import { codeName } from "./codes.js";

/** What went wrong. */
export type FanfareErrorKind =
  /** This browser has no WebTransport. */
  | "unsupported"
  /** An argument is not what it must be; nothing was sent. */
  | "argument"
  /** No connection could be made. Browsers do not tell pages why; the message lists the possible reasons. */
  | "unreachable"
  /** The server closed the connection, with a code. */
  | "closed"
  /** The server refused a request, with a code; the connection goes on. */
  | "refused"
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
  /** The server's code, or the one that this client ended the connection with; see {@link Code}. */
  readonly code: number | undefined;
  /** In how many milliseconds the client may come back at the earliest, as the server said; 0 is never. */
  readonly retryAfter: number | undefined;

  constructor(kind: FanfareErrorKind, message: string, code?: number, cause?: unknown, retryAfter?: number) {
    const text = code === undefined ? message : `${message} (code ${code}, ${codeName(code)})`;
    super(text, cause === undefined ? undefined : { cause });
    this.name = "FanfareError";
    this.kind = kind;
    this.code = code;
    this.retryAfter = retryAfter;
  }
}
