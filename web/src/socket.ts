/**
 * A session over a WebSocket: docs/protocol/websocket.md.
 *
 * In: an address. Out: a stream, datagrams and an end, as WebTransport has them. Invariants: each message is a kind and
 * what follows it; kinds of later versions are passed over, and text is a breach; nothing is sent behind the end of
 * this side's stream. What the page does not read is bounded, since a WebSocket cannot be told to wait: beyond
 * {@link UNREAD} it is closed.
 */

import { Code } from "./codes.js";
import { FanfareError } from "./errors.js";
import { DATAGRAM_BYTES } from "./frames.js";
import type { Session, SessionEnd } from "./session.js";

/** The subprotocol that is offered, and has to be chosen. */
export const SUBPROTOCOL = "fanfare.1";

/** The kinds of messages: bytes of the stream, a datagram, the end of the sender's half of the stream. */
const [STREAM, DATAGRAM, END] = [0, 1, 2];

/** The longest message, its kind included. */
const MESSAGE_BYTES = 65_536;

/** So much may wait in the browser to be sent, before whoever writes has to wait. */
const UNSENT = 262_144;

/** How often it is looked at whether it was sent, in milliseconds: the browser does not say. */
const LOOK = 10;

/** So much may wait for a page that does not read. */
const UNREAD = 16 * 1024 * 1024;

/** So many datagrams may. */
const DATAGRAMS = 64;

/** What a close says that is none of WebSocket's own reasons; the text begins with the code. */
const CLOSED = 4_000;

/** The longest text of a close, in bytes. */
const TEXT_BYTES = 123;

/**
 * What the server's close says: its code and its words; nothing where the connection was lost. Without a code it is by
 * somebody in between, and so is an ordinary end of a stream that has not ended.
 */
export function endOf(
  { code, reason }: { readonly code: number; readonly reason: string }, hasEnded: boolean,
): SessionEnd | undefined {
  const [, number, words = ""] = /^(\d{1,5})(?: (.*))?$/su.exec(reason) ?? [];
  const closeCode = Number(number ?? NaN);
  if ((code !== 1_000 && code !== CLOSED) || !(closeCode <= 0xffff) || (closeCode === 0 && !hasEnded)) return undefined;
  return { closeCode, reason: words };
}

/** The text of a close, cut to what fits. */
export function textOf({ closeCode = 0, reason = "" }: SessionEnd): string {
  const text = new Uint8Array(TEXT_BYTES);
  const { read } = new TextEncoder().encodeInto(`${closeCode} ${reason}`, text);
  return `${closeCode} ${reason}`.slice(0, read);
}

function message(kind: number, bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(bytes.length + 1);
  whole[0] = kind;
  whole.set(bytes, 1);
  return whole;
}

/** Something that is read as a stream, and may be ended or broken from here. */
class Source {
  readonly readable: ReadableStream<Uint8Array>;
  private controller: ReadableStreamDefaultController<Uint8Array> | undefined;

  constructor(most: number, size: (chunk: Uint8Array) => number) {
    const start = (controller: ReadableStreamDefaultController<Uint8Array>) => void (this.controller = controller);
    const cancel = () => void (this.controller = undefined);
    this.readable = new ReadableStream({ start, cancel }, { highWaterMark: most, size });
  }

  /** How much more may wait. What comes behind the end waits for nobody. */
  get room(): number {
    return this.controller ? (this.controller.desiredSize ?? 0) : Infinity;
  }

  push(chunk: Uint8Array): void {
    this.controller?.enqueue(chunk);
  }

  finish(): void {
    this.controller?.close();
    this.controller = undefined;
  }

  fail(error: unknown): void {
    this.controller?.error(error);
    this.controller = undefined;
  }
}

export class SocketSession implements Session {
  readonly ready: Promise<void>;
  readonly closed: Promise<SessionEnd>;
  readonly datagrams: Session["datagrams"];
  private readonly socket: WebSocket;
  private readonly stream = new Source(UNREAD, (chunk) => chunk.length);
  private readonly unreliable = new Source(DATAGRAMS, () => 1);
  private end: (end: SessionEnd | undefined, lost: string) => void = () => {};
  private isOver = false;
  /** The server's half of the stream has ended. */
  private hasEnded = false;

  constructor(url: string) {
    this.socket = new WebSocket(url, [SUBPROTOCOL]);
    this.socket.binaryType = "arraybuffer";
    this.closed = new Promise((settle, reject) => {
      this.end = (end, lost) => {
        if (this.isOver) return;
        this.isOver = true;
        const error = new Error(lost);
        this.stream.fail(error);
        this.unreliable.fail(error);
        if (end) settle(end);
        else reject(error);
      };
    });
    this.ready = new Promise((settle, reject) => {
      this.socket.addEventListener("open", () => settle());
      // Of what went wrong browsers tell pages nothing.
      this.socket.addEventListener("close", () => reject(new Error("the WebSocket was not opened")));
    });
    this.socket.addEventListener("close", (event) => {
      this.end(endOf(event, this.hasEnded), "the connection was lost");
    });
    this.socket.addEventListener("message", ({ data }) => this.take(data));
    const write = (datagram: Uint8Array) => {
      // What would have to wait comes too late.
      if (this.isOpen() && this.socket.bufferedAmount < UNSENT) this.socket.send(message(DATAGRAM, datagram));
    };
    this.datagrams = {
      readable: this.unreliable.readable,
      maxDatagramSize: DATAGRAM_BYTES,
      createWritable: () => new WritableStream({ write }),
    };
  }

  async createBidirectionalStream() {
    const write = (chunk: Uint8Array) => this.write(chunk);
    const close = () => {
      if (this.isOpen()) this.socket.send(message(END, new Uint8Array(0)));
    };
    const abort = () => this.close();
    return { readable: this.stream.readable, writable: new WritableStream({ write, close, abort }) };
  }

  close(end: SessionEnd = {}): void {
    const code = end.closeCode ? CLOSED : 1_000;
    // Whoever closes does not wait for the other side, as with WebTransport.
    this.end(end, "the connection was closed");
    if (this.socket.readyState <= WebSocket.OPEN) this.socket.close(code, textOf(end));
  }

  private isOpen(): boolean {
    return this.socket.readyState === WebSocket.OPEN;
  }

  private async write(chunk: Uint8Array): Promise<void> {
    for (let at = 0; at < chunk.length; at += MESSAGE_BYTES - 1) {
      while (this.isOpen() && this.socket.bufferedAmount > UNSENT) {
        await new Promise((settle) => setTimeout(settle, LOOK));
      }
      if (!this.isOpen()) throw new Error("the connection was lost");
      this.socket.send(message(STREAM, chunk.subarray(at, at + MESSAGE_BYTES - 1)));
    }
  }

  private take(data: unknown): void {
    if (this.isOver) return;
    if (typeof data === "string") {
      this.stream.fail(
        new FanfareError("protocol", "a message of text is no part of the stream", Code.StreamReset),
      );
    }
    if (!(data instanceof ArrayBuffer) || data.byteLength === 0) return;
    const bytes = new Uint8Array(data);
    const body = bytes.subarray(1);
    switch (bytes[0]) {
      case STREAM:
        if (body.length > 0) this.stream.push(body);
        if (this.stream.room <= 0) this.overflow();
        break;
      case DATAGRAM:
        if (this.unreliable.room > 0) this.unreliable.push(body);
        break;
      case END:
        this.hasEnded = true;
        this.stream.finish();
    }
  }

  private overflow(): void {
    const reason = `${UNREAD} bytes wait for the page, which does not read`;
    this.end(undefined, reason);
    this.socket.close(CLOSED, `0 ${reason}`);
  }
}

/** A WebSocket's session. Throws where the browser does not take the address. */
export function socketSession(url: string): Session {
  try {
    return new SocketSession(url);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new FanfareError("argument", `the browser does not take the address ${url}: ${why}`, undefined, cause);
  }
}
