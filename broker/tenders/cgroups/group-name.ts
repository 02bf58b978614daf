/**
 * Names of the groups that a broker makes. They name their broker by PID, start time and PID namespace, so that another one
 * can tell a leftover from the group of one that lives. Pure.
 */

export interface Owner {
  readonly pid: number;
  /** Ticks since the machine started, as in /proc/PID/stat: a PID that was given away again has another one. */
  readonly startTime: string;
  /** The number of its PID namespace: in another one the PID means another process. */
  readonly namespace: string;
}

/** Tenders: the group of all tenders of a broker. Broker: where it goes itself, because v2 wants processes in leaves only. */
export type GroupKind = 'tenders' | 'broker';

export function groupName(kind: GroupKind, { namespace, pid, startTime }: Owner): string {
  return `kerbside-${kind}-${namespace}-${pid}-${startTime}`;
}

/** Undefined: it is the name of something else. */
export function ownerOf(name: string): Owner | undefined {
  const [, namespace, pid, startTime] = /^kerbside-(?:tenders|broker)-(\d+)-(\d+)-(\d+)$/.exec(name) ?? [];
  return startTime === undefined ? undefined : { namespace: namespace!, pid: Number(pid), startTime };
}

/**
 * True for a group that was left by a broker that has ended. One of another PID namespace may live: it is left alone.
 * @param startTimeOf of the process with this PID; undefined when there is none
 */
export function isLeftover(name: string, self: Owner, startTimeOf: (pid: number) => string | undefined): boolean {
  const owner = ownerOf(name);
  if (owner === undefined || owner.namespace !== self.namespace) return false;
  return startTimeOf(owner.pid) !== owner.startTime;
}
