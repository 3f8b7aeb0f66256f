/**
 * Methods of the client that the application invokes.
 *
 * In: handlers by name, and what the server asks. Out: an answer to each question, in the order in which handlers are
 * done. Invariants: a handler runs beside everything else, so that it may call the server itself; it is told when
 * nobody waits for its answer any more, and then none is sent; no more than {@link MOST} run at a time.
 */

import { encodeClient } from "./codec.js";
import { Code } from "./codes.js";
import { FanfareError } from "./errors.js";
import type { AskFrame, ClientInvoke, Outcome } from "./frames.js";
import type { Link } from "./link.js";
import { argumentsOf, payloadFor } from "./payload.js";
import type { MethodHandler } from "./types.js";
import { failure } from "./upload.js";

/** How many handlers run at a time; what is asked beyond that is refused. */
const MOST = 256;

/** The handlers of a client, by the names of their methods. */
export class Handlers {
  private readonly handlers = new Map<string, MethodHandler>();

  /** A later handler of the same method takes the place of the earlier one. */
  on(method: string, handler: MethodHandler): () => void {
    this.handlers.set(method, handler);
    return () => {
      if (this.handlers.get(method) === handler) this.handlers.delete(method);
    };
  }

  of(method: string): MethodHandler | undefined {
    return this.handlers.get(method);
  }
}

/** The handlers that run for one connection. */
export class Answering {
  private readonly running = new Map<bigint, AbortController>();

  constructor(private readonly link: Link, private readonly handlers: Handlers) {}

  /** Does what the server wants of the client. */
  take(frame: AskFrame): void {
    if (frame.kind === "clientCancel") {
      const why = new FanfareError("aborted", "the server does not wait for the answer any more");
      return this.running.get(frame.call)?.abort(why);
    }
    // A number that is in use is no other call's.
    if (this.running.has(frame.call)) return;
    const handler = this.handlers.of(frame.method);
    if (!handler) return this.answer(frame.call, refused(Code.MethodUnknown, "There is no such method."));
    if (this.running.size >= MOST) {
      return this.answer(frame.call, refused(Code.TooManyCalls, `${MOST} methods of the client run already.`));
    }
    void this.run(frame, handler);
  }

  /** The connection is lost: nobody waits for answers. */
  end(): void {
    for (const running of this.running.values()) {
      running.abort(new FanfareError("disconnected", "the connection was lost"));
    }
  }

  private async run(asked: ClientInvoke, handler: MethodHandler): Promise<void> {
    const running = new AbortController();
    this.running.set(asked.call, running);
    const outcome = await this.outcome(asked, handler, running.signal);
    this.running.delete(asked.call);
    if (!running.signal.aborted) this.answer(asked.call, outcome);
  }

  private async outcome(asked: ClientInvoke, handler: MethodHandler, signal: AbortSignal): Promise<Outcome> {
    const { method } = asked;
    let values: unknown[];
    try {
      values = argumentsOf(asked.arguments);
    } catch (error) {
      return refused(Code.ArgumentsInvalid, error);
    }
    try {
      const value = await handler.apply({ method, signal }, values);
      if (value === undefined) return "nothing";
      const payload = payloadFor(value);
      const [length, most] = [payload.bytes.length, this.link.welcome.limits.payloadBytes];
      if (length <= most) return { value: payload };
      return refused(Code.PayloadTooLarge, `the answer has ${length} bytes; the server takes ${most}`);
    } catch (error) {
      return refused(Code.CallFailed, error);
    }
  }

  private answer(call: bigint, outcome: Outcome): void {
    // Fails only with the connection, and with it whoever waits.
    this.link.write(encodeClient({ kind: "clientCompletion", call, outcome })).catch(() => {});
  }
}

function refused(code: number, error: unknown): Outcome {
  return { failed: failure(code, error) };
}
