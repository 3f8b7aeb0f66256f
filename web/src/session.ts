/**
 * What carries a link: a session of WebTransport, or a WebSocket that behaves like one.
 *
 * In: nothing. Out: the few verbs that a link needs. No code: a `WebTransport` is a {@link Session} as it is.
 */

/** What a link goes over. */
export type Transport = "webtransport" | "websocket";

/** Why a session ended, as its end says it. */
export interface SessionEnd {
  readonly closeCode?: number;
  readonly reason?: string;
}

/** The part of `WebTransport` that a link uses. */
export interface Session {
  /** Settles when it is established. */
  readonly ready: Promise<unknown>;
  /** Settles when it has ended; rejects where it was lost. */
  readonly closed: Promise<SessionEnd>;
  readonly datagrams: {
    readonly readable: ReadableStream<Uint8Array>;
    readonly maxDatagramSize: number;
    createWritable?: () => WritableStream<Uint8Array>;
    readonly writable?: WritableStream<Uint8Array>;
  };
  createBidirectionalStream(): Promise<{
    readonly readable: ReadableStream<Uint8Array>;
    readonly writable: WritableStream<Uint8Array>;
  }>;
  close(end?: SessionEnd): void;
}
