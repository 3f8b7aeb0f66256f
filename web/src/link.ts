/**
 * One connection: a WebTransport session, its stream, and its datagrams.
 *
 * In: an address, a credential. Out: the server's frames one after the other, and how it ended. Invariants: frames are written in the
 * order in which they are given, whole; what ends a link ends it once; a link never comes back.
 */

import { Code } from "./codes.js";
import { decodeServer, encodeClient, FrameReader } from "./codec.js";
import { FanfareError } from "./errors.js";
import { PROTOCOL_VERSION, type Credential, type ServerFrame, type Welcome } from "./frames.js";

/** Why a link ended. */
export interface Ended {
  /** The server's code; none where it was lost without a word. */
  readonly code: number | undefined;
  /** In words. */
  readonly reason: string;
  /** What the server said about coming back: in so many milliseconds, 0 for never. Where it said nothing its code decides. */
  readonly retryAfter?: number | undefined;
}

/** How to reach the server. */
export interface Address {
  readonly url: string;
  readonly hashes: readonly WebTransportHash[];
}

/** Settles with `promise`, or rejects when the signal says so, whichever is first. */
export async function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise;
  signal.throwIfAborted();
  let abort: (() => void) | undefined;
  const aborted = new Promise<never>((_, reject) => {
    abort = () => reject(signal.reason as Error);
    signal.addEventListener("abort", abort, { once: true });
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    if (abort) signal.removeEventListener("abort", abort);
  }
}

/** Settles with `promise`, or with `late` after so many milliseconds. */
export async function orAfter<T>(promise: Promise<T>, ms: number, late: T): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const patience = new Promise<T>((settle) => {
    timer = setTimeout(() => settle(late), ms);
  });
  try {
    return await Promise.race([promise, patience]);
  } finally {
    clearTimeout(timer);
  }
}

/** How long the end may take after the server's last words. Then they are taken for it: a close can get lost. */
const END_AFTER_GOODBYE = 2_000;

export class Link {
  private goodbye: Ended | undefined;
  private violation: Ended | undefined;
  /** The server broke the stream off and said its code with that, because this end took nothing any more. */
  private brokenOff: Ended | undefined;
  private datagramWriter: WritableStreamDefaultWriter<Uint8Array> | undefined;
  private readonly gone: Promise<void>;

  private constructor(
    private readonly transport: WebTransport,
    private readonly reader: ReadableStreamDefaultReader<Uint8Array>,
    private readonly writer: WritableStreamDefaultWriter<Uint8Array>,
    private readonly frames: FrameReader,
    /** What came behind the welcome in the same piece. */
    private early: ServerFrame[],
    readonly welcome: Welcome,
  ) {
    this.gone = transport.closed.then(() => {}, () => {});
  }

  /** Connects and says who it is. Aborting, a deadline for example, closes what has begun. */
  static async open(address: Address, credential: Credential, signal: AbortSignal): Promise<Link> {
    if (typeof WebTransport === "undefined") {
      throw new FanfareError("unsupported", "this browser has no WebTransport, or the page is not a secure context");
    }
    // First, so that a name that cannot be is told before anything is sent.
    const hello = encodeClient({ kind: "hello", protocol: PROTOCOL_VERSION, features: 0, credential });
    const transport = new WebTransport(
      address.url,
      address.hashes.length > 0 ? { serverCertificateHashes: [...address.hashes] } : {},
    );
    // It is looked at below; without this a refusal that comes early is told twice.
    transport.closed.catch(() => {});
    const heard: { goodbye?: Ended } = {};
    try {
      return await unlessAborted(Link.shake(transport, address, hello, heard), signal);
    } catch (error) {
      if (error instanceof FanfareError && error.kind === "protocol") transport.close(closeWith(error));
      else transport.close();
      // What the server said counts, although the end that was waited for did not come in time.
      throw heard.goodbye && !(error instanceof FanfareError) ? refused(heard.goodbye) : error;
    }
  }

  private static async shake(
    transport: WebTransport, address: Address, hello: Uint8Array, heard: { goodbye?: Ended },
  ): Promise<Link> {
    try {
      await transport.ready;
    } catch (cause) {
      throw new FanfareError(
        "unreachable",
        `no connection to ${address.url}: no server there, its certificate is not trusted (or not the one whose hash was given), ` +
          "the path is wrong, or pages of this origin may not connect; browsers do not tell which",
        undefined,
        cause,
      );
    }
    try {
      const stream = await transport.createBidirectionalStream();
      const reader = stream.readable.getReader() as ReadableStreamDefaultReader<Uint8Array>;
      const writer = stream.writable.getWriter() as WritableStreamDefaultWriter<Uint8Array>;
      writer.closed.catch(() => {});
      writer.write(hello).catch(() => {});
      const frames = new FrameReader();
      for (;;) {
        const { value, done } = await reader.read();
        if (done || value === undefined) break;
        const [first, ...early] = [...frames.push(value)].map(decodeServer);
        if (first === undefined) continue;
        if (first.kind === "goodbye") {
          heard.goodbye = goodbyeOf(first);
          throw refused(await endAfter(heard.goodbye, transport, reader));
        }
        const breach =
          first.kind === "unknown" ? `the server began with ${first.what}`
          : first.kind !== "welcome" ? `the server began with ${first.kind}`
          : first.protocol !== PROTOCOL_VERSION ? `the server speaks version ${first.protocol}`
          // It would go on to say what nobody here understands.
          : first.features !== 0 ? "the server chose features that were not offered"
          : undefined;
        if (first.kind !== "welcome" || breach) {
          const isOther = first.kind === "welcome" && first.protocol !== PROTOCOL_VERSION;
          throw new FanfareError("protocol", breach ?? "", isOther ? Code.UnsupportedProtocol : Code.MalformedFrame);
        }
        return new Link(transport, reader, writer, frames, early, first);
      }
    } catch (error) {
      // Which of the two is told first, the stream's end or the session's, is the browser's affair.
      if (error instanceof FanfareError) throw error;
    }
    const { code, reason } = await closedBy(transport);
    // 0 is no word of the server's here: a library says it of a connection that it drops half made.
    if (!code) throw new FanfareError("unreachable", `the connection to ${address.url} was lost: ${reason}`);
    throw refused({ code, reason });
  }

  /** Gives every frame to `take`, and waits for it before the next. Returns how the link ended. */
  async run(take: (frame: ServerFrame) => Promise<void> | void): Promise<Ended> {
    const datagrams = this.transport.datagrams.readable.getReader() as ReadableStreamDefaultReader<Uint8Array>;
    void this.readDatagrams(datagrams, take);
    try {
      for (const frame of this.early.splice(0)) await this.taken(frame, take);
      for (;;) {
        const read = this.reader.read();
        // What is late then fails with nobody there to hear it.
        read.catch(() => {});
        const { value, done } = await (this.goodbye ? orAfter(read, END_AFTER_GOODBYE, { value: undefined, done: true }) : read);
        if (done || value === undefined) break;
        for (const frame of this.frames.push(value)) await this.taken(decodeServer(frame), take);
      }
    } catch (error) {
      if (error instanceof FanfareError && error.kind === "protocol") this.violated(error);
      else this.brokenOff = brokenOffWith(error);
    }
    const ended = this.violation ?? after(this.brokenOff ?? (await closedBy(this.transport)), this.goodbye);
    this.transport.close();
    // Not waited for: Firefox lets a read of datagrams hang when the session has ended.
    datagrams.cancel().catch(() => {});
    return ended;
  }

  private async taken(frame: ServerFrame, take: (frame: ServerFrame) => Promise<void> | void): Promise<void> {
    if (frame.kind === "goodbye") this.goodbye = goodbyeOf(frame);
    // Whoever handles frames may take its time; a session that has ended is not waited for longer.
    await Promise.race([take(frame), this.gone]);
  }

  private async readDatagrams(
    reader: ReadableStreamDefaultReader<Uint8Array>,
    take: (frame: ServerFrame) => Promise<void> | void,
  ): Promise<void> {
    for (;;) {
      // Fails at the session's end, which the stream tells of.
      const read = await reader.read().catch(() => undefined);
      if (read?.value === undefined) return;
      try {
        const frame = decodeServer(read.value);
        if (frame.kind !== "message" && frame.kind !== "unknown") {
          throw new FanfareError("protocol", `${frame.kind} came in a datagram`, Code.MalformedFrame);
        }
        await this.taken(frame, take);
      } catch (error) {
        return this.violated(error);
      }
    }
  }

  /** Ends the session: what came is not the protocol. The first reason stays. */
  private violated(error: unknown): void {
    const { closeCode, reason } = closeWith(error);
    this.violation ??= { code: closeCode, reason };
    this.transport.close({ closeCode, reason });
  }

  /** Queues a frame behind those before it. Settles when the transport takes more. */
  async write(frame: Uint8Array): Promise<void> {
    // Written at once, so that the order is the order of the calls; what is waited for is room for the next.
    this.writer.write(frame).catch(() => {});
    try {
      await this.writer.ready;
    } catch {
      throw new FanfareError("disconnected", "the connection was lost");
    }
  }

  /** Sends a datagram, if there is room for it. */
  datagram(frame: Uint8Array): void {
    const datagrams = this.transport.datagrams as WebTransportDatagramDuplexStream & {
      createWritable?: () => WritableStream<Uint8Array>;
      readonly writable?: WritableStream<Uint8Array>;
    };
    if (frame.length > datagrams.maxDatagramSize) {
      throw new FanfareError(
        "argument",
        `the datagram has ${frame.length} bytes; ${datagrams.maxDatagramSize} get through at most`,
      );
    }
    this.datagramWriter ??= (datagrams.createWritable?.() ?? datagrams.writable)?.getWriter();
    this.datagramWriter?.write(frame).catch(() => {});
  }

  /** Says that nothing will follow, and waits until the server has all of it, for `deadline` milliseconds at most. */
  async finish(deadline: number): Promise<void> {
    const finished = this.writer.close().then(() => this.transport.closed).then(() => {}, () => {});
    await orAfter(finished, deadline, undefined);
    this.transport.close();
  }

  /** Ends it at once. */
  drop(): void {
    this.transport.close();
  }
}

/** How a client closes to whom the server said what is not the protocol. */
function closeWith(error: unknown): { readonly closeCode: number; readonly reason: string } {
  const code = error instanceof FanfareError ? error.code : undefined;
  return { closeCode: code ?? Code.MalformedFrame, reason: error instanceof Error ? error.message : String(error) };
}

function refused({ code, reason, retryAfter }: Ended): FanfareError {
  return new FanfareError("closed", `the server refused the connection: ${reason}`, code, undefined, retryAfter);
}

function goodbyeOf({ code, reason, retryAfter }: ServerFrame & { kind: "goodbye" }): Ended {
  return { code, reason, retryAfter };
}

/** An end, with what the server had said before it. */
function after(end: Ended, goodbye: Ended | undefined): Ended {
  // One without a code of its own (0 is what a finished session ends with) is what the last words say; another code is
  // newer.
  if (goodbye === undefined || (end.code && end.code !== goodbye.code)) return end;
  return { ...goodbye, reason: goodbye.reason || end.reason };
}

/** How a session ends whose server said its last words instead of a welcome. */
async function endAfter(
  goodbye: Ended, transport: WebTransport, reader: ReadableStreamDefaultReader<Uint8Array>,
): Promise<Ended> {
  const read = reader.read().then(() => undefined, brokenOffWith);
  const brokenOff = await orAfter(read, END_AFTER_GOODBYE, undefined);
  return after(brokenOff ?? (await closedBy(transport)), goodbye);
}

/** The code that a stream was broken off with; none where it was lost. */
function brokenOffWith(error: unknown): Ended | undefined {
  const code = (error as { streamErrorCode?: number | null } | undefined)?.streamErrorCode;
  return code ? { code, reason: "the server broke the stream off" } : undefined;
}

/** What the server said when it closed; browsers give it with the session's end, which comes soon after the stream's. */
async function closedBy(transport: WebTransport): Promise<Ended> {
  const closed = transport.closed.then<Ended, Ended>(
    (info) => ({ code: info.closeCode, reason: info.reason ?? "" }),
    (error: unknown) => ({ code: undefined, reason: error instanceof Error ? error.message : String(error) }),
  );
  return orAfter(closed, 2_000, { code: undefined, reason: "the stream ended" });
}
