/**
 * Which groups to join again after an outage, and which were lost with the connection (docs/protocol/reconnecting.md).
 *
 * In: what the application asked for and what the server said. Out: the groups to join again; those to which an
 * operator had added this client. Invariants: a group is joined again only where the application asked for it and
 * neither side ended it since; a leave counts from the moment it is asked for; of groups that the server adds by itself
 * at most {@link GIVEN} are kept.
 */

/** The most groups that an operator added that are kept, so that a server cannot fill the memory. */
const GIVEN = 10_000;

interface Group {
  /** The application joined it, and neither side ended that since. */
  member: boolean;
  /** The server added this client without being asked: an operator did. */
  given: boolean;
  /** Joins that the server has not answered. */
  joins: number;
  /** `joined` came while a join waited for its answer, which says whether the join made it, or an operator. */
  open: boolean;
  /**
   * Leaves that the server has not answered. Until then a `joined` is about a join before them, and is undone by them.
   */
  leaves: number;
  /** The one unanswered leave ends a membership, so that a `joined` before its answer came after it: an operator's. */
  leaving: boolean;
}

export class Membership {
  private groups = new Map<string, Group>();
  private given = 0;
  private gone = new Set<string>();

  joinAsked(group: string): void {
    this.known(group).joins++;
  }

  leaveAsked(group: string): void {
    const known = this.known(group);
    known.leaving = known.leaves === 0 && (known.member || known.given);
    known.member = known.open = false;
    known.leaves++;
    this.give(known, false);
    this.gone.delete(group);
  }

  /** A join of a group to which an operator had added this client is answered without a `joined`. */
  joinAnswered(group: string, done: boolean): void {
    this.update(group, (known) => {
      known.joins = Math.max(0, known.joins - 1);
      if (done && known.given && known.leaves === 0) known.member = true;
      // What this join did not make, an operator made.
      if (!done && known.open) {
        known.member = false;
        this.giveIfRoom(known);
      }
      known.open = false;
    });
  }

  leaveAnswered(group: string): void {
    this.update(group, (known) => {
      known.leaves = Math.max(0, known.leaves - 1);
      known.leaving = false;
    });
  }

  joined(group: string): void {
    const known = this.known(group);
    if (known.leaves > 0) {
      if (known.leaving) this.giveIfRoom(known);
    } else if (known.joins > 0) {
      known.open ||= !known.member;
      known.member = true;
    } else if (!known.member) this.giveIfRoom(known);
    this.update(group, () => {});
  }

  /** It was to be joined again, and is refused. With `added` it is in it all the same, because an operator added it. */
  refused(group: string, added: boolean): void {
    this.ended(group);
    if (added) this.joined(group);
  }

  /** Over: the server ended it or refused to renew it, or the application left during an outage. */
  ended(group: string): void {
    this.gone.delete(group);
    this.update(group, (known) => {
      known.member = known.open = known.leaving = false;
      this.give(known, false);
    });
  }

  /** With the connection go all answers that were still to come, and the memberships that operators had made. */
  connectionLost(): void {
    for (const [group, known] of this.groups) {
      known.joins = known.leaves = 0;
      known.open = known.leaving = false;
      if (known.given && !known.member) this.gone.add(group);
      this.give(known, false);
      if (!known.member) this.groups.delete(group);
    }
  }

  isMember(group: string): boolean {
    return this.groups.get(group)?.member ?? false;
  }

  members(): string[] {
    return [...this.groups].filter(([, known]) => known.member).map(([group]) => group).sort();
  }

  /** The groups that were lost and are not there again. Returned once. */
  takeLost(): string[] {
    const lost = [...this.gone].filter((group) => !this.groups.get(group)?.given && !this.isMember(group)).sort();
    this.gone.clear();
    return lost;
  }

  private give(known: Group, given: boolean): void {
    this.given += Number(given) - Number(known.given);
    known.given = given;
  }

  /** As long as there is room to remember it. */
  private giveIfRoom(known: Group): void {
    if (this.given < GIVEN) this.give(known, true);
  }

  private known(group: string): Group {
    const known =
      this.groups.get(group) ?? { member: false, given: false, joins: 0, open: false, leaves: 0, leaving: false };
    this.groups.set(group, known);
    return known;
  }

  private update(group: string, change: (known: Group) => void): void {
    const known = this.groups.get(group);
    if (!known) return;
    change(known);
    if (!known.member && !known.given && known.joins === 0 && known.leaves === 0) this.groups.delete(group);
  }
}
