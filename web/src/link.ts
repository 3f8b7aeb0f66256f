/**
 * One connection: a session, its stream, and its datagrams.
 *
 * In: an address, a credential. Out: the server's frames one after the other, and how it ended. Invariants: frames are
 * written whole and in the order in which they are given; what ends a link ends it once; a link never comes back.
 */

import { Code } from "./codes.js";
import { decodeServer, encodeClient } from "./codec.js";
import { after, brokenOffWith, closedBy, closeWith, END_PATIENCE, goodbyeOf, refused, type Ended } from "./ended.js";
import { FanfareError } from "./errors.js";
import { PROTOCOL_VERSION, type Credential, type ServerFrame, type Welcome } from "./frames.js";
import { FEATURES, introduce, type Introduced } from "./handshake.js";
import type { Incoming } from "./incoming.js";
import { orAfter, unlessAborted } from "./pause.js";
import type { Race } from "./race.js";
import type { Session, Transport } from "./session.js";

/** Takes a frame; one that returns a promise is waited for before the next frame. */
type Take = (frame: ServerFrame) => Promise<void> | void;

export class Link {
  readonly welcome: Welcome;
  private readonly incoming: Incoming;
  private readonly writer: WritableStreamDefaultWriter<Uint8Array>;
  private goodbye: Ended | undefined;
  /** Until when the end may come behind `goodbye`. */
  private endUntil = Infinity;
  /** What came is not the protocol, so that this end closed the session. The first reason stays. */
  private violation: Ended | undefined;
  /** The server takes nothing any more, so that this end closed the session. */
  private refusal: Ended | undefined;
  private datagramWriter: WritableStreamDefaultWriter<Uint8Array> | undefined;
  /** Settles when the session is over. */
  private readonly gone: Promise<void>;
  private isGone = false;
  /** Those who wait no longer than that. */
  private readonly held = new Set<() => void>();

  private constructor(
    /** Which of the client's addresses it goes to. */
    readonly url: string,
    private readonly session: Session, readonly transport: Transport, { incoming, writer, welcome }: Introduced,
  ) {
    this.welcome = welcome;
    this.incoming = incoming;
    this.writer = writer;
    const over = () => {
      this.isGone = true;
      for (const settle of this.held) settle();
    };
    this.gone = session.closed.then(over, over);
    writer.closed.catch(() => this.stopped());
  }

  /** Connects and says who it is. Aborting, a deadline for example, closes what has begun. */
  static async open(race: Race, credential: Credential, signal: AbortSignal): Promise<Link> {
    // First, so that an invalid name is an error before anything is sent.
    const hello = encodeClient({ kind: "hello", protocol: PROTOCOL_VERSION, features: FEATURES, credential });
    const { session, transport } = await race.open(signal);
    const heard: { goodbye?: Ended } = {};
    try {
      const introduced = await unlessAborted(introduce(session, race.url, hello, heard), signal);
      const link = new Link(race.url, session, transport, introduced);
      race.remember(true);
      return link;
    } catch (error) {
      race.remember(false);
      if (error instanceof FanfareError && error.kind === "protocol") session.close(closeWith(error));
      else session.close();
      // What the server said counts, although the end that was waited for did not come in time.
      throw heard.goodbye && !(error instanceof FanfareError) ? refused(heard.goodbye) : error;
    }
  }

  /** Gives every frame to `take`, and waits for it before the next. Returns how the link ended. */
  async run(take: Take): Promise<Ended> {
    const datagrams = this.session.datagrams.readable.getReader();
    void this.readDatagrams(datagrams, take);
    let brokenOff: Ended | undefined;
    try {
      for (;;) {
        const next = this.incoming.next();
        const frame = await (this.goodbye ? orAfter(next, this.endUntil - performance.now(), undefined) : next);
        if (frame === undefined) break;
        await this.taken(frame, take);
      }
    } catch (error) {
      if (error instanceof FanfareError && error.kind === "protocol") this.violated(error);
      else brokenOff = brokenOffWith(error);
    }
    const patience = this.goodbye ? Math.max(0, this.endUntil - performance.now()) : END_PATIENCE;
    const end = this.violation ?? brokenOff ?? (await closedBy(this.session, patience));
    const ended = this.violation ?? after(this.refusal ?? end, this.goodbye);
    this.session.close();
    // Not waited for: Firefox lets a read of datagrams hang when the session has ended.
    datagrams.cancel().catch(() => {});
    return ended;
  }

  private async taken(frame: ServerFrame, take: Take): Promise<void> {
    if (frame.kind === "welcome") {
      throw new FanfareError("protocol", "the server said welcome a second time", Code.MalformedFrame);
    }
    if (frame.kind === "goodbye") {
      this.goodbye = goodbyeOf(frame);
      this.endUntil = performance.now() + END_PATIENCE;
    }
    const taking = take(frame);
    // Whoever handles frames may take its time; a session that has ended is not waited for longer.
    if (taking) await this.unlessGone(taking);
  }

  /** Waits no longer than the session lasts. A race with its end would be remembered until then, for each frame. */
  private async unlessGone(waiting: Promise<void>): Promise<void> {
    return new Promise<void>((settle, reject) => {
      if (this.isGone) settle();
      this.held.add(settle);
      void waiting.then(settle, reject).finally(() => this.held.delete(settle));
    });
  }

  private async readDatagrams(reader: ReadableStreamDefaultReader<Uint8Array>, take: Take): Promise<void> {
    for (;;) {
      // Fails at the session's end, of which the stream tells.
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

  /** Ends the session, because what came is not the protocol. */
  private violated(breach: unknown): void {
    const { closeCode, reason } = closeWith(breach);
    this.violation ??= { code: closeCode, reason, about: "server" };
    this.session.close({ closeCode, reason });
  }

  /** The server takes nothing any more from the stream, so nothing can be asked or sent: a lost connection. */
  private async stopped(): Promise<void> {
    // The session's end may be on its way, and tells more.
    const isOver = await orAfter(this.gone.then(() => true), END_PATIENCE, false);
    if (isOver) return;
    const reason = "the server stopped the stream";
    this.refusal = { code: undefined, reason };
    this.session.close({ closeCode: Code.StreamReset, reason });
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
    const { datagrams } = this.session;
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
    const finished = this.writer.close().then(() => this.session.closed).then(() => {}, () => {});
    await orAfter(finished, deadline, undefined);
    this.session.close();
  }

  /** Ends it at once. */
  drop(): void {
    this.session.close();
  }
}
