/**
 * Tells the application's handlers and loops what happens.
 *
 * In: the server's frames, and the client's own events. Out: calls of handlers, and messages for loops. Invariants:
 * everything is reported in the order in which it came; a handler that returns a promise is awaited before the next,
 * and what waits for handlers meanwhile is bounded ({@link Inbox}).
 */

import type { MessageFrame, ServerFrame } from "./frames.js";
import { called, Inbox } from "./inbox.js";
import { Loop } from "./loop.js";
import type { Handler, Happenings, Message, MessageHandler } from "./types.js";

/** A byte order mark is a part of the text, as it is for every other client. */
const DECODER = new TextDecoder("utf-8", { ignoreBOM: true });

export class Events {
  readonly inbox = new Inbox();
  private messages = new Map<string, Set<MessageHandler>>();
  private happenings = new Map<keyof Happenings, Set<Handler<never>>>();
  private loops = new Set<Loop>();
  private over = false;

  on(event: string, handler: MessageHandler): () => void {
    return entered(this.messages, event, handler);
  }

  when<K extends keyof Happenings>(kind: K, handler: Handler<Happenings[K]>): () => void {
    return entered(this.happenings, kind, handler as Handler<never>);
  }

  loop(): AsyncIterator<Message> {
    const loop = new Loop(() => this.loops.delete(loop));
    if (this.over) loop.end();
    else this.loops.add(loop);
    return loop;
  }

  tell<K extends keyof Happenings>(kind: K, value: Happenings[K]): void {
    this.inbox.push(async () => {
      for (const handler of this.happenings.get(kind) ?? []) {
        await called(() => (handler as Handler<Happenings[K]>)(value));
      }
    });
  }

  /** Reports a frame of the server, if it is one for the application. */
  report(frame: ServerFrame): void {
    switch (frame.kind) {
      case "message":
        return this.inbox.push(() => this.deliver(frame));
      case "error":
        return this.tell("refused", frame);
      case "joined":
        return this.tell("joined", frame);
      case "removed":
        return this.tell("removed", frame);
      case "lagged":
        return this.tell("lagged", frame);
      case "expiring":
        return this.tell("expiring", frame);
      case "goodbye":
        return this.tell("goodbye", frame);
      // For others than the application's handlers of events.
      case "welcome":
      case "ack":
      case "completion":
      case "resultItem":
      case "streamCredit":
      case "streamStop":
      case "clientInvoke":
      case "clientCancel":
      case "snapshot":
      case "changes":
      case "watchEnded":
      case "unknown":
        break;
      default:
        frame satisfies never;
    }
  }

  /** The last event. */
  end(closed: Happenings["closed"]): void {
    this.over = true;
    this.tell("closed", closed);
    this.inbox.push(async () => {
      for (const loop of this.loops) loop.end();
    });
  }

  private async deliver({ from, to, event, format, payload }: MessageFrame): Promise<void> {
    const message: Message = { from, to, event, format, payload, text: () => DECODER.decode(payload) };
    for (const handler of this.messages.get(event) ?? []) await called(() => handler(payload, message));
    for (const loop of this.loops) await loop.push(message);
  }
}

function entered<K, H>(handlers: Map<K, Set<H>>, key: K, handler: H): () => void {
  const known = handlers.get(key) ?? new Set<H>();
  handlers.set(key, known.add(handler));
  return () => {
    known.delete(handler);
    // It may be another set by now, when this is called a second time.
    if (known.size === 0 && handlers.get(key) === known) handlers.delete(key);
  };
}
