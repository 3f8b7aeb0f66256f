/**
 * The groups that are watched, as the server tells of them, and what each watch was given of that.
 *
 * In: frames of presence; watches that begin and end; answers. Out: changes for each watch, when it asks; and which
 * groups are to be asked for again. Invariants: what a watch was given, put together, is what the server last
 * announced, over outages, too: a snapshot is compared with what was given before, and only what differs is a change.
 * What a slow application has not taken takes no more memory than the group's users. The end of a watch on the server
 * ends those that it was told of before: one whose request has no answer yet may be about the next, and where that is
 * not known it is asked for again. What is refused for now ends no watch: it keeps what it has, and is asked for again
 * after a pause that grows, as long as somebody wants it and the connection lives.
 */

import { mayReconnect } from "./codes.js";
import type { Present, PresenceFrame } from "./frames.js";
import { Waiters } from "./inbox.js";
import { backoff } from "./pause.js";
import type { PresenceChange, Watch, WatchEnded } from "./types.js";

/**
 * The pauses before what was refused for now is asked for again, in milliseconds. Whatever such a refusal is about is
 * over in seconds, mostly, and meanwhile the application is shown what was.
 */
const FIRST_PAUSE = 250;
const LONGEST_PAUSE = 10_000;

/** Users who are present, by their names. */
type View = Map<string, Present>;

interface Watched {
  /** The last snapshot that was complete, and the changes since. */
  view: View | undefined;
  /** A snapshot that is being told. */
  building: View | undefined;
  readonly watches: Set<Watching>;
  /** Requests for all of those that have no answer. */
  asked: number;
  /**
   * An end was told while a request had no answer, so that it may have been about what that began, or about what was
   * before.
   */
  isUnsure: boolean;
  /** Refusals for now since the server watched it last. */
  refusals: number;
  /** The pause at whose end it is asked for again. */
  pause: ReturnType<typeof setTimeout> | undefined;
}

/** What is told of the answer to a request. */
export interface Answered {
  done(): void;
  refused(end: WatchEnded): void;
  /** It did not come in time. */
  late(): void;
}

/** A watch in the application's hands. */
export class Watching implements Watch {
  private given: View = new Map();
  /** Users of whom something may be different from what was given. */
  private touched = new Set<string>();
  /** Anything may be. */
  private isStale = true;
  private hasBegun = false;
  private end: WatchEnded | undefined;
  private isOver = false;
  /** Its own request has no answer. */
  isAsked = true;
  private readonly news = new Waiters();

  constructor(readonly group: string, private readonly watches: Watches) {}

  get present(): Present[] {
    return [...(this.watches.view(this.group)?.values() ?? [])];
  }

  get ended(): WatchEnded | undefined {
    return this.end;
  }

  async *[Symbol.asyncIterator](): AsyncIterator<PresenceChange> {
    try {
      for (;;) {
        if (this.isOver) return;
        const view = this.watches.view(this.group);
        const change = view && this.differences(view);
        if (change) yield change;
        else await this.news.next();
      }
    } finally {
      this.close();
    }
  }

  close(): void {
    if (this.isOver) return;
    this.over(undefined);
    this.watches.close(this);
  }

  /** It has ended, in the one way or the other. */
  over(end: WatchEnded | undefined): void {
    this.end ??= end;
    this.isOver = true;
    this.news.all();
  }

  /** Something of these users is different, or of any. */
  changed(users: Iterable<string> | undefined): void {
    if (users !== undefined && !this.isStale) {
      for (const user of users) this.touched.add(user);
      // Where more would be kept than there are and were given, all are looked at instead.
      const there = this.watches.view(this.group)?.size ?? 0;
      if (this.touched.size > there + this.given.size) users = undefined;
    }
    if (users === undefined) [this.isStale, this.touched] = [true, new Set()];
    this.news.all();
  }

  /** What is different from what was given. It is given from then on. */
  private differences(view: View): PresenceChange | undefined {
    const users = this.isStale ? new Set([...view.keys(), ...this.given.keys()]) : this.touched;
    [this.isStale, this.touched] = [false, new Set()];
    const [present, left]: [Present[], string[]] = [[], []];
    for (const user of users) {
      const [now, given] = [view.get(user), this.given.get(user)];
      if (now && !(given && isSame(now, given))) {
        this.given.set(user, now);
        present.push(now);
      } else if (!now && this.given.delete(user)) left.push(user);
    }
    const isNews = !this.hasBegun || present.length > 0 || left.length > 0;
    this.hasBegun = true;
    return isNews ? { present, left } : undefined;
  }
}

export class Watches {
  private readonly groups = new Map<string, Watched>();

  /** `unwatch` is called for a group that nobody here watches any more, `again` for one to be asked for again. */
  constructor(
    private readonly unwatch: (group: string) => void,
    private readonly again: (group: string) => void,
  ) {}

  /** Begins a watch. */
  begin(group: string): Watching {
    const watch = new Watching(group, this);
    const watched = this.groups.get(group) ?? nobody();
    this.groups.set(group, watched);
    watched.watches.add(watch);
    return watch;
  }

  /** Who is present in a group, as was last heard. */
  view(group: string): View | undefined {
    return this.groups.get(group)?.view;
  }

  /** The connection is lost: nothing is asked for again on it. */
  lost(): void {
    for (const watched of this.groups.values()) settled(watched);
  }

  /** The connection is another one, which watches nothing yet. Gives what it is to watch. */
  connected(): string[] {
    for (const watched of this.groups.values()) {
      [watched.building, watched.asked, watched.isUnsure] = [undefined, 0, false];
      settled(watched);
    }
    return [...this.groups.keys()];
  }

  /** Takes what the server tells. */
  take(frame: PresenceFrame): void {
    const watched = this.groups.get(frame.group);
    if (!watched) return;
    switch (frame.kind) {
      case "snapshot":
        if (frame.begins) watched.building = new Map();
        if (!watched.building) return;
        put(watched.building, frame.present);
        if (!frame.complete) return;
        [watched.view, watched.building] = [watched.building, undefined];
        for (const watch of watched.watches) watch.changed(undefined);
        return;
      case "changes": {
        const view = watched.building ?? watched.view;
        if (!view) return;
        for (const user of frame.left) view.delete(user);
        put(view, frame.present);
        if (watched.building) return;
        const users = [...frame.left, ...frame.present.map(({ user }) => user)];
        for (const watch of watched.watches) watch.changed(users);
        return;
      }
      case "watchEnded":
        if (mayReconnect(frame.code)) return this.interrupted(frame.group);
        return this.ended(frame.group, { code: frame.code, reason: frame.reason });
    }
  }

  /** All of a group is about to be asked for. Gives what is to be told of the answer. */
  asked(group: string): Answered {
    const watched = this.groups.get(group);
    if (watched) watched.asked++;
    return this.answer(group, () => {
      if (watched) watched.asked--;
    });
  }

  /** The same for one watch. */
  askedFor(watch: Watching): Answered {
    const settle = () => {
      watch.isAsked = false;
    };
    return this.answer(watch.group, settle, watch);
  }

  /** For all of a group, or for the one watch that asked, whose caller has the answer, too. */
  private answer(group: string, settle: () => void, asking?: Watching): Answered {
    // Of the others nothing was done. That one asks again where its caller wants it.
    const forNow = () => (asking ? asking.close() : this.putOff(group));
    return {
      done: () => {
        settle();
        const watched = this.groups.get(group);
        if (!watched) return;
        // Answers are in order: whatever was refused before it, the server watches the group now.
        settled(watched);
        if (!watched.isUnsure) return;
        watched.isUnsure = false;
        this.again(group);
      },
      refused: (end) => {
        settle();
        if (mayReconnect(end.code)) forNow();
        else this.ended(group, end);
        const watched = this.groups.get(group);
        // What the others asked for says itself what becomes of it.
        if (watched) watched.isUnsure = false;
      },
      late: () => {
        settle();
        forNow();
      },
    };
  }

  /** What there was has ended, for now: all of it is asked for again. */
  private interrupted(group: string): void {
    const watched = this.groups.get(group);
    if (!watched) return;
    watched.building = undefined;
    // An answer that is still to come may be about what was before.
    watched.isUnsure = watched.asked > 0 || [...watched.watches].some((watch) => watch.isAsked);
    this.putOff(group);
  }

  /** All of a group is asked for again, after a pause. One that is waited for already is not made longer. */
  private putOff(group: string): void {
    const watched = this.groups.get(group);
    if (!watched || watched.pause !== undefined) return;
    watched.pause = setTimeout(() => {
      watched.pause = undefined;
      this.again(group);
    }, backoff(watched.refusals++, FIRST_PAUSE, LONGEST_PAUSE));
  }

  /** What there was has ended. What has been asked for since goes on, with a snapshot of its own. */
  private ended(group: string, end: WatchEnded): void {
    const watched = this.groups.get(group);
    if (!watched) return;
    for (const watch of watched.watches) {
      if (watched.asked > 0 || watch.isAsked) continue;
      watched.watches.delete(watch);
      watch.over(end);
    }
    if (watched.watches.size === 0) this.forget(group, watched);
    else [watched.building, watched.isUnsure] = [undefined, true];
  }

  /** A watch is not wanted any more. */
  close(watch: Watching): void {
    const watched = this.groups.get(watch.group);
    if (!watched?.watches.delete(watch) || watched.watches.size > 0) return;
    this.forget(watch.group, watched);
    this.unwatch(watch.group);
  }

  private forget(group: string, watched: Watched): void {
    settled(watched);
    this.groups.delete(group);
  }

  /** There is no server any more. */
  end(): void {
    this.lost();
    for (const { watches } of this.groups.values()) for (const watch of watches) watch.over(undefined);
    this.groups.clear();
  }
}

/** A group that nobody watches yet. */
function nobody(): Watched {
  return {
    view: undefined, building: undefined, watches: new Set(), asked: 0, isUnsure: false, refusals: 0, pause: undefined,
  };
}

/** A group is not asked for again, and no refusal counts any more. */
function settled(watched: Watched): void {
  clearTimeout(watched.pause);
  [watched.refusals, watched.pause] = [0, undefined];
}

function put(view: View, all: readonly Present[]): void {
  for (const present of all) view.set(present.user, present);
}

function isSame(one: Present, other: Present): boolean {
  if (one.connections !== other.connections || one.data?.format !== other.data?.format) return false;
  const [these, those] = [one.data?.bytes ?? [], other.data?.bytes ?? []];
  return these.length === those.length && these.every((byte, at) => byte === those[at]);
}
