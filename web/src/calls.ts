/**
 * The calls that one connection has under way: who waits for what.
 *
 * In: calls as the application makes them, and what the server says about them. Out: their frames, in the order of the
 * calls; outcomes and items, to whoever waits. Invariants: nothing is sent where the server does not understand it, or
 * would refuse it for its size; a call that is not wanted any more is cancelled; what belongs to a call ends with it;
 * when the connection is lost, everybody who waits hears so.
 */

import { Code } from "./codes.js";
import { encodeClient } from "./codec.js";
import { FanfareError } from "./errors.js";
import { CALLS, type CallFrame, type ClientFrame, type Failure, type Formatted, type ServerFrame } from "./frames.js";
import { Items, WINDOW } from "./items.js";
import type { Link } from "./link.js";
import { encoded } from "./outgoing.js";
import { isFormatted, json, valueOf } from "./payload.js";
import { MOST_PENDING, type Requests } from "./requests.js";
import type { Invocation } from "./types.js";
import { Upload } from "./upload.js";

/** Who waits for what comes of a call. */
interface Waiting {
  item(item: Formatted): void;
  /** It ended well. */
  end(value: Formatted | undefined): void;
  fail(error: FanfareError): void;
}

interface Pending {
  /** None where nobody wants the outcome any more. */
  waiting: Waiting | undefined;
  /** Its turn has come. */
  isSent: boolean;
  /** How many more items the server may send. */
  credit: number;
  readonly uploads: readonly Upload[];
  /** Does not listen to the call's signal any more. */
  readonly deafen: () => void;
}

export class Calls {
  private readonly pending = new Map<number, Pending>();
  private readonly uploads = new Map<number, Upload>();
  private waits = 0;

  /** `waited` is called when somebody begins to wait. */
  constructor(
    private readonly link: Link,
    private readonly requests: Requests,
    private readonly waited: () => void,
  ) {}

  /** Whether somebody waits for an outcome, or for an item. */
  get areAwaited(): boolean {
    return this.waits > 0;
  }

  /** Makes a call, and waits for its value. */
  async value(invocation: Invocation): Promise<unknown> {
    const value = await this.awaited(
      new Promise<Formatted | undefined>((end, fail) => this.begin(invocation, 0, { item: () => {}, end, fail })),
    );
    try {
      return value && valueOf(value);
    } catch (cause) {
      throw new FanfareError("unreadable", "the value of the call cannot be read", undefined, cause);
    }
  }

  /** Makes a call whose result is items. */
  items<T>(invocation: Invocation): Items<T> {
    let request = 0;
    const items = new Items<T>({
      more: (count) => this.more(request, count),
      drop: () => void this.drop(request),
      awaited: (promise) => this.awaited(promise),
    });
    request = this.begin(invocation, WINDOW, items);
    return items;
  }

  private begin({ method, args = [], uploads = [], signal }: Invocation, credit: number, waiting: Waiting): number {
    const { features, limits } = this.link.welcome;
    if ((features & CALLS) === 0n) {
      throw new FanfareError("unsupported", "the server has no application that could be called; nothing was sent");
    }
    if (signal?.aborted) throw aborted(signal);
    // Those that are not wanted any more included: the server still owes their outcomes.
    if (this.pending.size >= MOST_PENDING) {
      const why = `${MOST_PENDING} calls have no outcome yet; nothing was sent`;
      throw new FanfareError("refused", why, Code.TooManyCalls);
    }
    const [given, streams] = isFormatted(args) ? [args, []] : divided(args);
    if (given.bytes.length > limits.payloadBytes) {
      const why = `the arguments have ${given.bytes.length} bytes; the server takes ${limits.payloadBytes}`;
      throw new FanfareError("argument", why);
    }
    const request = this.requests.next();
    const own = [...streams, ...uploads].map((source) => new Upload(this.requests.next(), source, this.link));
    const numbers = own.map(({ stream }) => stream);
    const frame = encoded({ kind: "invoke", request, method, credit, streams: numbers, arguments: given }, limits);
    const abort = () => this.drop(request)?.fail(aborted(signal));
    signal?.addEventListener("abort", abort, { once: true });
    const deafen = () => signal?.removeEventListener("abort", abort);
    const pending: Pending = { waiting, isSent: false, credit, uploads: own, deafen };
    this.pending.set(request, pending);
    for (const upload of own) this.uploads.set(upload.stream, upload);
    const sent = this.requests.send(() => this.send(pending, frame));
    sent.catch((error: FanfareError) => this.ended(request)?.fail(error));
    return request;
  }

  /** Sends a call, in its turn. */
  private async send(pending: Pending, frame: Uint8Array): Promise<void> {
    // It was cancelled before.
    if (!pending.waiting) return;
    pending.isSent = true;
    const written = this.link.write(frame);
    for (const upload of pending.uploads) void upload.run();
    return written;
  }

  /** Takes what the server says of calls. Throws where it may not say that. */
  take(frame: CallFrame): void {
    switch (frame.kind) {
      case "completion": {
        const { request, outcome } = frame;
        const waiting = this.ended(request);
        if (outcome === "nothing") waiting?.end(undefined);
        else if ("value" in outcome) waiting?.end(outcome.value);
        else waiting?.fail(failed(outcome.failed));
        return;
      }
      case "resultItem": {
        const pending = this.pending.get(frame.request);
        if (!pending?.waiting) return;
        if (pending.credit === 0) {
          const why = "the server sent more items than it had credit for";
          throw new FanfareError("protocol", why, Code.StreamOverrun);
        }
        pending.credit--;
        return pending.waiting.item(frame.item);
      }
      case "streamCredit": return this.uploads.get(frame.stream)?.give(frame.items);
      case "streamStop": {
        this.uploads.get(frame.stream)?.stop();
        this.uploads.delete(frame.stream);
      }
    }
  }

  /** Takes a refusal. Says whether it was one of a call. */
  refused({ request, code, detail }: ServerFrame & { kind: "error" }): boolean {
    if (!this.pending.has(request)) return false;
    this.ended(request)?.fail(new FanfareError("refused", detail, code));
    return true;
  }

  /** The connection is lost. */
  fail(): void {
    const lost = new FanfareError("disconnected", "the connection was lost before the call ended");
    const unsent = new FanfareError("not-connected", "the connection was lost; nothing was sent");
    for (const [request, { isSent }] of [...this.pending]) this.ended(request)?.fail(isSent ? lost : unsent);
  }

  private async awaited<T>(promise: Promise<T>): Promise<T> {
    this.waits++;
    this.waited();
    try {
      return await promise;
    } finally {
      this.waits--;
    }
  }

  private more(request: number, items: number): void {
    const pending = this.pending.get(request);
    if (!pending?.waiting) return;
    pending.credit += items;
    this.say({ kind: "credit", request, items });
  }

  /** Cancels a call, unless it has ended. Gives who waited. */
  private drop(request: number): Waiting | undefined {
    const pending = this.pending.get(request);
    const waiting = pending && this.released(pending);
    if (pending?.isSent === false) this.pending.delete(request);
    else if (waiting) this.say({ kind: "cancel", request });
    return waiting;
  }

  /** Nothing more comes about a call. Gives who waits. */
  private ended(request: number): Waiting | undefined {
    const pending = this.pending.get(request);
    this.pending.delete(request);
    return pending && this.released(pending);
  }

  /** What belongs to a call ends with it, or with the wish to know what comes of it. */
  private released(pending: Pending): Waiting | undefined {
    const { waiting, uploads, deafen } = pending;
    pending.waiting = undefined;
    deafen();
    for (const upload of uploads) {
      this.uploads.delete(upload.stream);
      upload.stop();
    }
    return waiting;
  }

  /** Says something that nobody waits for. */
  private say(frame: ClientFrame): void {
    this.link.write(encodeClient(frame)).catch(() => {});
  }
}

/** Arguments in JSON, and those that are streams. */
function divided(args: readonly unknown[]): [Formatted, AsyncIterable<unknown>[]] {
  return [json(args.filter((argument) => !isStream(argument))), args.filter(isStream)];
}

function isStream(value: unknown): value is AsyncIterable<unknown> {
  return typeof value === "object" && value !== null && Symbol.asyncIterator in value;
}

function aborted(signal: AbortSignal | undefined): FanfareError {
  return new FanfareError("aborted", "the call was cancelled", undefined, signal?.reason);
}

/** The error of a call that did not end well. */
function failed({ code, detail, data }: Failure): FanfareError {
  return new FanfareError("failed", detail, code, undefined, undefined, read(data));
}

/** What an application says to programs: nothing, a value, or what cannot be read as one. */
function read(data: Formatted): unknown {
  if (data.bytes.length === 0) return undefined;
  try {
    return valueOf(data);
  } catch {
    return data;
  }
}
