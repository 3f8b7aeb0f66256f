/**
 * Which way a connection goes: WebTransport, or a WebSocket where UDP does not get through.
 *
 * In: where the server is, and which ways may be tried. Out: one session that is established. Invariants: whichever is
 * first is the connection, every other is closed, and nothing is sent on both. WebTransport begins; the WebSocket joins
 * after a moment, or at once where WebTransport has failed: browsers take half a minute to notice that UDP is dropped
 * (w3c/webtransport#578). Where a WebSocket had to help it goes alone for a while, and then WebTransport is tried
 * again.
 */

import { FanfareError } from "./errors.js";
import { unlessAborted } from "./pause.js";
import type { Session, Transport } from "./session.js";
import { socketSession } from "./socket.js";

/** How long the WebSocket goes alone once it has helped, in milliseconds. */
export const REMEMBERED = 300_000;

/** Where the server is, and how it may be reached. */
export interface Address {
  /** Of WebTransport. */
  readonly url: string;
  readonly hashes: readonly WebTransportHash[];
  readonly socketUrl: string;
  /** The ways that the application allows. */
  readonly transports: readonly Transport[];
  /** After how many milliseconds the WebSocket joins. */
  readonly socketAfter: number;
}

/** A session that is established. */
export interface Opened {
  readonly session: Session;
  readonly transport: Transport;
}

function webTransport({ url, hashes }: Address): Session {
  try {
    return new WebTransport(url, hashes.length > 0 ? { serverCertificateHashes: [...hashes] } : {}) as Session;
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new FanfareError("argument", `the browser does not take the address ${url}: ${why}`, undefined, cause);
  }
}

function unreachable({ url, socketUrl }: Address, tried: readonly Transport[], causes: unknown): FanfareError {
  const places = tried.map((transport) => (transport === "websocket" ? socketUrl : url));
  return new FanfareError(
    "unreachable",
    `no connection to ${places.join(" or ")}: no server there, its certificate is not trusted (or not the one whose ` +
      "hash was given), the path is wrong, or pages of this origin may not connect; browsers do not tell which",
    undefined,
    causes,
  );
}

/** The ways to one server, and what was learned of them. */
export class Race {
  /** Until when the WebSocket goes alone. */
  private socketUntil = -Infinity;
  /** The WebSocket was first, although WebTransport was tried, too. */
  private hasHelped = false;

  constructor(private readonly address: Address) {}

  /** Where the server is, as the application gave it. */
  get url(): string {
    return this.address.url;
  }

  /** Opens a session. Aborting, a deadline for example, closes what has begun. */
  async open(signal: AbortSignal): Promise<Opened> {
    const { transports, socketAfter } = this.address;
    const wants = (transport: Transport) => transports.includes(transport);
    const hasSocket = wants("websocket") && typeof WebSocket !== "undefined";
    const hasWebTransport = wants("webtransport") && typeof WebTransport !== "undefined";
    if (!hasSocket && !hasWebTransport) {
      throw new FanfareError("unsupported", "this browser has no WebTransport, or the page is not a secure context");
    }
    const begun: Opened[] = [];
    const begin = async (transport: Transport): Promise<Opened> => {
      const session = transport === "websocket" ? socketSession(this.address.socketUrl) : webTransport(this.address);
      const opened = { session, transport };
      begun.push(opened);
      // It is looked at later; without this a refusal that comes early counts as one that nobody handles.
      session.closed.catch(() => {});
      await session.ready;
      return opened;
    };
    const over = new AbortController();
    let won: Opened | undefined;
    try {
      const attempts: Promise<Opened>[] = [];
      if (hasWebTransport && !(hasSocket && performance.now() < this.socketUntil)) attempts.push(begin("webtransport"));
      if (hasSocket) attempts.push(this.behind(attempts[0], socketAfter, over.signal, () => begin("websocket")));
      won = await unlessAborted(Promise.any(attempts), signal);
      this.hasHelped = won.transport === "websocket" && begun.length > 1;
      return won;
    } catch (error) {
      throw error instanceof AggregateError ? this.failure(error.errors, begun) : error;
    } finally {
      over.abort();
      // It hangs, or was refused: WebTransport may do better at the next try.
      if (!won) this.remember(false);
      for (const { session } of begun) if (session !== won?.session) session.close();
    }
  }

  /**
   * Whether the session that was opened last was welcomed: only then the WebSocket goes alone for a while, and when it
   * was not, WebTransport is tried again.
   */
  remember(wasWelcomed: boolean): void {
    if (!wasWelcomed) this.socketUntil = -Infinity;
    else if (this.hasHelped) this.socketUntil = performance.now() + REMEMBERED;
    this.hasHelped = false;
  }

  /** Begins after a moment, or as soon as what goes before has failed; not where all is over by then. */
  private async behind(
    before: Promise<Opened> | undefined, ms: number, over: AbortSignal, begin: () => Promise<Opened>,
  ): Promise<Opened> {
    if (before) {
      let timer: ReturnType<typeof setTimeout> | undefined;
      const moment = new Promise<void>((settle) => (timer = setTimeout(settle, ms)));
      const failed = before.then(() => new Promise<void>(() => {}), () => {});
      const ended = new Promise<void>((settle) => over.addEventListener("abort", () => settle(), { once: true }));
      await Promise.race([moment, failed, ended]);
      clearTimeout(timer);
      if (over.aborted) throw new Error("the race is over");
    }
    return begin();
  }

  private failure(errors: readonly unknown[], begun: readonly Opened[]): unknown {
    // What the application said wrongly is not the network's fault.
    const wrong = errors.find((error) => error instanceof FanfareError);
    if (wrong) return wrong;
    return unreachable(this.address, begun.map(({ transport }) => transport), errors[0]);
  }
}
