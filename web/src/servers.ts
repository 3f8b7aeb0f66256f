/**
 * The servers that a client may connect to: one attempt at a time, at whichever is next.
 *
 * In: where they are, and how connections end. Out: a connection, or why there is none. Invariants: there is one
 * attempt at a time; a refusal that is about this client ends the going round; a server that swallows packets costs a
 * part of the time that connecting may take where there are others to try, and all of it where there are none.
 */

import { addressesOf, CONNECT_TIMEOUT, dial } from "./dial.js";
import { failed } from "./ended.js";
import { FanfareError } from "./errors.js";
import type { Link } from "./link.js";
import { Race } from "./race.js";
import { Route, type Step } from "./route.js";
import type { ConnectOptions } from "./types.js";
import { verdictOf, type Verdict } from "./verdict.js";

/** An attempt may take so many milliseconds at least, however many servers there are. */
const LEAST_SHARE = 2_000;

export class Servers {
  private readonly races: readonly Race[];
  private readonly route: Route;
  /** The place of the last connection. */
  private current = 0;

  constructor(private readonly options: ConnectOptions) {
    this.races = addressesOf(options).map((address) => new Race(address));
    const { firstDelay = 250, maxDelay = 30_000 } = options.reconnect || {};
    this.route = new Route(this.races.length, { firstDelay, maxDelay });
  }

  /** Connects for the first time: each server is tried once, until one takes the client, or says something about it. */
  async connect(): Promise<Link> {
    const failures: FanfareError[] = [];
    for (;;) {
      const place = this.route.rest(performance.now());
      if (place === undefined) throw inVain(failures);
      try {
        const link = await this.attempt(place, this.options.token, this.options.signal);
        this.live(place);
        return link;
      } catch (error) {
        const verdict = verdictOf(failed(error), false);
        const goesOn = verdict.of === "node" || verdict.of === "server";
        // What the application said wrongly is wrong whichever server chance gives first.
        if (!goesOn || !(error instanceof FanfareError) || error.kind === "argument") throw error;
        this.route.failed(place, verdict, performance.now());
        failures.push(error);
      }
    }
  }

  /** One attempt at the server at this place. */
  async attempt(place: number, newest: string | undefined, signal: AbortSignal | undefined): Promise<Link> {
    const race = this.races[place];
    if (race === undefined) throw new FanfareError("argument", "there is no such server");
    const whole = this.options.connectTimeout ?? CONNECT_TIMEOUT;
    return dial(this.options, race, newest, signal, share(whole, this.route.servers, this.route.isLast));
  }

  /** The connection to the server at this place is the client's. */
  live(place: number): void {
    this.current = place;
  }

  /** That connection was lost. Gives what to do next, where something can be done. */
  lost(verdict: Verdict, lasted: boolean): Step | undefined {
    const now = performance.now();
    this.route.lost(this.current, verdict, lasted, now);
    return this.route.next(now);
  }

  /** An attempt at the server at this place failed. The same. */
  failed(place: number, verdict: Verdict): Step | undefined {
    const now = performance.now();
    this.route.failed(place, verdict, now);
    return this.route.next(now);
  }
}

/**
 * How many milliseconds an attempt at one of so many servers may take. The last of a round has nobody behind it who
 * would have to wait, and over a slow network one that may take its time is needed.
 */
export function share(whole: number, servers: number, isLast: boolean): number {
  return isLast ? whole : Math.min(whole, Math.max(Math.floor(whole / servers), LEAST_SHARE));
}

/** The error of having tried each server in vain. */
function inVain(failures: readonly FanfareError[]): FanfareError {
  const [first] = failures;
  if (first !== undefined && failures.length === 1) return first;
  const isSame = failures.every(({ kind, code }) => kind === first?.kind && code === first.code);
  const [kind, code] = isSame && first ? [first.kind, first.code] : (["unreachable", undefined] as const);
  const times = failures.map(({ retryAfter }) => retryAfter).filter((time) => time !== undefined);
  const each = failures.map(({ message }) => message).join("; ");
  const message = `none of ${failures.length} servers could be connected to: ${each}`;
  return new FanfareError(kind, message, code, failures, times.length > 0 ? Math.min(...times) : undefined);
}
