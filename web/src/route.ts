/**
 * Which of several servers is tried next, and after which pause.
 *
 * In: how each attempt and each connection ended, and the time. Out: a server's place in the list, and how long to wait
 * before it is tried. The time is told, and chance comes from a function that is given.
 *
 * A *round* is each server once, in an order of chance, so that the clients of a list spread evenly over it. A lost
 * connection begins a round of the others. Within a round there is no pause, but for one: a server that sends its
 * clients away tells all of them in the same moment and says when to come back, and they move at random moments within
 * that time. When the round is over the client's own pause comes, and then a new round.
 *
 * Invariants: no server is tried sooner than it said, nor any server sooner than was said to this client in person; a
 * round is begun without a pause only behind a connection that lasted, so that servers which let clients in and throw
 * them out again are not hit without a pause; with one server there is nothing but its own time and the client's pause.
 */

import { backoff } from "./pause.js";
import type { Verdict } from "./verdict.js";

/**
 * Within so many milliseconds those move on whom a server sends away, however long it stays away itself: nobody should
 * do without a connection for minutes while other servers are up.
 */
const SPREAD = 5_000;

/** What is known of one server. */
interface Place {
  /** It said not to come back before. */
  notBefore: number;
  /** Trying it again mends nothing in this outage. */
  isStruck: boolean;
}

/** What to do next. */
export interface Step {
  /** The server's place in the list. */
  readonly place: number;
  /** How many milliseconds to wait before it is tried. */
  readonly pause: number;
}

/** The client's own pauses: the longest before the first round, and the longest of all, in milliseconds. */
export interface Pauses {
  readonly firstDelay: number;
  readonly maxDelay: number;
}

/** The way from server to server. */
export class Route {
  private readonly places: Place[];
  /** Those that are left of this round; the next is the last. */
  private round: number[] = [];
  /** Before this nothing is tried. */
  private notBefore = -Infinity;
  /** How long to wait before moving on to another server. */
  private beforeMoving = 0;
  private rounds = 0;

  constructor(servers: number, private readonly pauses: Pauses, private readonly random = Math.random) {
    this.places = Array.from({ length: servers }, () => ({ notBefore: -Infinity, isStruck: false }));
    this.beginRound();
  }

  /** How many servers there are. */
  get servers(): number {
    return this.places.length;
  }

  /** Whether the server that was given last is the last of its round. */
  get isLast(): boolean {
    return this.round.length === 0;
  }

  /** The next server of this round, without a pause; none where the round is over. */
  rest(now: number): number | undefined {
    for (;;) {
      const place = this.round.pop();
      // One that is not open yet has its turn in the next round.
      if (place === undefined || this.opens(place, now + this.beforeMoving) === 0) return place;
    }
  }

  /** What to do next; nothing where there is no server that may be tried again. */
  next(now: number): Step | undefined {
    const found = this.rest(now);
    const moving = this.beforeMoving;
    this.beforeMoving = 0;
    if (found !== undefined) return { place: found, pause: moving };
    this.beginRound();
    if (this.round.length === 0) return undefined;
    const soonest = Math.min(...this.round.map((place) => this.opens(place, now)));
    const { firstDelay, maxDelay } = this.pauses;
    const pause = soonest + backoff(this.rounds++, firstDelay, maxDelay, this.random);
    // Of those that may be tried then, the first that chance gives.
    const at = this.round.findLastIndex((place) => this.opens(place, now) <= pause);
    const [place] = this.round.splice(at, 1);
    return place === undefined ? undefined : { place, pause };
  }

  /** An attempt at a server failed. */
  failed(at: number, { of, away }: Verdict, now: number): void {
    const place = this.places[at];
    if (of === "node" && place) place.notBefore = now + away;
    if (of === "server" && place) place.isStruck = true;
    if (of === "final") for (const place of this.places) place.isStruck = true;
    if (of === "node" || of === "server") return;
    // Whichever server is asked, it is the same client that asks.
    this.notBefore = now + away;
    this.round = [];
  }

  /** The connection to a server was lost. One that had `lasted` begins a new round of the others. */
  lost(at: number, verdict: Verdict, lasted: boolean, now: number): void {
    if (lasted) {
      this.rounds = 0;
      for (const place of this.places) place.isStruck = false;
      this.beginRound();
    }
    this.round = this.round.filter((place) => place !== at);
    if (verdict.of === "node") this.beforeMoving = Math.round(this.random() * Math.min(verdict.away, SPREAD));
    this.failed(at, verdict, now);
  }

  private beginRound(): void {
    this.round = [...this.places.keys()].filter((at) => !this.places[at]?.isStruck);
    // Each order is as likely as any other (Fisher and Yates).
    for (let left = this.round.length; left > 1; left--) {
      const [chosen] = this.round.splice(Math.floor(this.random() * left), 1);
      if (chosen !== undefined) this.round.push(chosen);
    }
  }

  /** How long it is until a server may be tried, in whole milliseconds. */
  private opens(at: number, now: number): number {
    return Math.ceil(Math.max(0, this.notBefore - now, (this.places[at]?.notBefore ?? 0) - now));
  }
}
