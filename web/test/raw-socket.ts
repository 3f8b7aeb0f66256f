/**
 * A WebSocket by hand, on a TCP socket: it can say what no client would say, and not read what it is told.
 *
 * In: frames, or bytes. Out: the server's messages in their order, and how it has ended. Invariant: what the server
 * must not do on the wire fails the test that is looking: masked frames, and control frames that clients do not take.
 */

import { randomBytes } from "node:crypto";
import { request } from "node:http";
import { connect, type Socket } from "node:net";

import { DEADLINE, Series } from "./series.js";

const [CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG] = [0, 1, 2, 8, 9, 10];
export { BINARY, TEXT };

/** The server did not open the WebSocket. */
export class Refused extends Error {
  constructor(readonly status: number, readonly body: string) {
    super(`refused with ${status}`);
  }
}

/** A message of the server's, or its end. */
export interface Received {
  readonly opcode: number;
  readonly bytes: Buffer;
}

export class RawSocket {
  readonly got = new Series<Received>();
  /** The status of WebSocket's close; of a connection that just ended there is none. */
  readonly ended: Promise<number | undefined>;
  private settle: (status: number | undefined) => void = () => {};
  private status: number | undefined;
  private rest: Buffer = Buffer.alloc(0);
  private pieces: Buffer[] = [];
  private opcode = 0;
  /** What the server did that it must not do. */
  private wrong: string | undefined;

  private constructor(private readonly socket: Socket, head: Buffer) {
    this.ended = new Promise((settle) => (this.settle = settle));
    socket.on("data", (bytes: Buffer) => this.read(bytes));
    socket.on("error", () => {});
    socket.on("close", () => {
      this.settle(this.status);
      this.got.push({ opcode: CLOSE, bytes: Buffer.alloc(0) });
    });
    if (head.length > 0) this.read(head);
  }

  /** Opens one at `http://...`, and throws {@link Refused} where the server does not want it. */
  static async open(url: string, headers: Record<string, string> = {}): Promise<RawSocket> {
    const upgrade = {
      connection: "Upgrade", upgrade: "websocket", "sec-websocket-version": "13",
      "sec-websocket-key": randomBytes(16).toString("base64"),
    };
    return new Promise((settle, reject) => {
      const asked = request(url, { headers: { ...upgrade, ...headers }, agent: false, timeout: DEADLINE });
      asked.on("upgrade", (_, socket, head: Buffer) => settle(new RawSocket(socket as Socket, head)));
      asked.on("response", (response) => {
        let body = "";
        response.on("data", (piece: Buffer) => (body += piece.toString()));
        response.on("end", () => reject(new Refused(response.statusCode ?? 0, body)));
      });
      asked.on("timeout", () => asked.destroy(new Error("no answer")));
      asked.on("error", reject);
      asked.end();
    });
  }

  private read(bytes: Buffer): void {
    this.rest = Buffer.concat([this.rest, bytes]);
    for (;;) {
      const frame = this.take();
      if (!frame) return;
      const { first, payload } = frame;
      const [opcode, isLast] = [first & 0x0f, first >= 0x80];
      if (opcode === CLOSE) {
        this.status = payload.length >= 2 ? payload.readUInt16BE(0) : 1005;
        this.socket.end();
      } else if (opcode === PING) {
        // signalrcore takes it for a message, and dies.
        this.wrong = "the server has sent a WebSocket's ping";
      } else if (opcode !== PONG) {
        if (opcode !== CONTINUATION) this.opcode = opcode;
        this.pieces.push(payload);
        if (isLast) {
          this.got.push({ opcode: this.opcode, bytes: Buffer.concat(this.pieces) });
          this.pieces = [];
        }
      }
    }
  }

  /** The first frame of what has come, once it is whole. */
  private take(): { first: number; payload: Buffer } | undefined {
    const { rest } = this;
    if (rest.length < 2) return undefined;
    const [first, second] = [rest.readUInt8(0), rest.readUInt8(1)];
    if (second >= 0x80) this.wrong = "the server has masked a frame";
    const size = second & 0x7f;
    const head = size === 126 ? 4 : size === 127 ? 10 : 2;
    if (rest.length < head) return undefined;
    const length = size === 126 ? rest.readUInt16BE(2) : size === 127 ? Number(rest.readBigUInt64BE(2)) : size;
    if (rest.length < head + length) return undefined;
    this.rest = rest.subarray(head + length);
    return { first, payload: rest.subarray(head, head + length) };
  }

  /** The next message; `undefined` behind the last. */
  async next(what = "a message"): Promise<Received | undefined> {
    const message = await this.got.next(what);
    if (this.wrong !== undefined) throw new Error(this.wrong);
    if (message.opcode === CLOSE) this.got.push(message);
    return message.opcode === CLOSE ? undefined : message;
  }

  /** Sends a message, or a piece of one. */
  send(content: string | Uint8Array, frame: { opcode?: number; isLast?: boolean } = {}): void {
    const { opcode = typeof content === "string" ? TEXT : BINARY, isLast = true } = frame;
    const payload = Buffer.from(content);
    const { length } = payload;
    const head = Buffer.alloc(length < 126 ? 2 : length < 65_536 ? 4 : 10);
    head.writeUInt8((isLast ? 0x80 : 0) | opcode, 0);
    head.writeUInt8(0x80 | (length < 126 ? length : length < 65_536 ? 126 : 127), 1);
    if (head.length === 4) head.writeUInt16BE(length, 2);
    if (head.length === 10) head.writeBigUInt64BE(BigInt(length), 2);
    const mask = randomBytes(4);
    this.write(Buffer.concat([head, mask, payload.map((byte, at) => byte ^ (mask[at & 3] as number))]));
  }

  /** Sends a message in pieces of so many bytes. */
  sendInPieces(content: Uint8Array, size: number, opcode: number): void {
    for (let at = 0; at < content.length; at += size) {
      const isLast = at + size >= content.length;
      this.send(content.subarray(at, at + size), { opcode: at === 0 ? opcode : CONTINUATION, isLast });
    }
  }

  /** Sends bytes that need be no frame. */
  write(bytes: Uint8Array): void {
    if (!this.socket.destroyed) this.socket.write(bytes);
  }

  close(status = 1000): void {
    const payload = Buffer.alloc(2);
    payload.writeUInt16BE(status, 0);
    this.send(payload, { opcode: CLOSE });
  }

  /** Says the WebSocket's ping. */
  ping(): void {
    this.send("", { opcode: PING });
  }

  /** From here on nothing is read, and TCP holds the server back. */
  stopReading(): void {
    this.socket.pause();
  }

  readAgain(): void {
    this.socket.resume();
  }

  /** Ends it without a word. */
  drop(): void {
    this.socket.destroy();
  }

  /** Finishes its half without WebSocket's close. */
  finish(): void {
    this.socket.end();
  }

  /** Waits for the end, and gives the status of WebSocket's close. */
  async end(): Promise<number | undefined> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error("the server did not end it")), DEADLINE);
    });
    try {
      return await Promise.race([this.ended, late]);
    } finally {
      clearTimeout(timer);
    }
  }
}

/** A TCP connection that says no HTTP, or only a part. */
export function tcp(http: string): Socket {
  const { hostname, port } = new URL(http);
  const socket = connect(Number(port), hostname);
  socket.on("error", () => {});
  return socket;
}
