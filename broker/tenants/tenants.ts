/**
 * The tenants of a broker: the limits that the policy gives to each of them, and the use that each of them makes of it now.
 *
 * What is kept of a tenant is small. Above so many, those go of whom nothing is open and whose computing time is full again.
 */
import type { QuotaUse } from '../../shared/api/broker.ts';
import { ErrorCode, KerbError } from '../../shared/base/errors.ts';
import type { Refusal } from '../../shared/base/refusal.ts';
import type { VehiclePrincipal } from '../../shared/identity/identity.ts';
import { cappedClass } from '../../shared/protocol/service-class.ts';
import { CpuBucket } from './cpu-bucket.ts';
import { matchesAny } from './name-pattern.ts';
import type {
  BoundedTerms,
  ClassShares,
  ClientLimits,
  Policy,
  ResultLimits,
  RuledOffload,
  TenantAccounts,
  TenantPolicy,
  TenantRules,
  TenantRun,
} from './policy.ts';
import { quotaSpent, timeText } from './quota-refusals.ts';

/** Open offloads and computing time of one tenant. */
interface Usage {
  offloads: number;
  bytes: number;
  running: number;
  /** That the running ones may come to hold. */
  memory: number;
  readonly cpu: CpuBucket;
  /** Of its runs and of the time between two of its answers, in milliseconds: what hints are made of. */
  meanCpuMs: number;
  meanGapMs: number;
  leftAt: number;
  /** One of its offloads waits for a quota and not for a tender. */
  held: boolean;
  timer: NodeJS.Timeout | undefined;
}

/** How much the newest value counts in a mean. */
const MEAN_WEIGHT = 0.1;
/** From so many tenants on, those with nothing open are looked through when another one comes. */
const SWEEP_FROM = 1024;

export class Tenants implements TenantRules, TenantAccounts {
  /** An offload of this tenant that `mayBegin` held back may be begun now. */
  onMore: (tenant: string) => void;
  readonly #usage = new Map<string, Usage>();
  #policy: Policy;
  #sweepAt = SWEEP_FROM;

  constructor(policy: Policy, onMore: (tenant: string) => void = () => {}) {
    this.#policy = policy;
    this.onMore = onMore;
  }

  get policy(): Policy {
    return this.#policy;
  }
  get classShares(): ClassShares {
    return this.#policy.classes;
  }
  /** Tenants of which something is open, or was lately. */
  get size(): number {
    return this.#usage.size;
  }

  /** From now on this is what tenants may. What they use counts on. */
  replace(policy: Policy): void {
    this.#policy = policy;
    for (const [tenant, usage] of this.#usage) if (usage.held) this.#release(tenant, usage);
  }

  /** Nothing is told any more. */
  stop(): void {
    for (const usage of this.#usage.values()) clearTimeout(usage.timer);
  }

  policyOf(tenant: string): TenantPolicy {
    return this.#policy.tenants.get(tenant) ?? this.#policy.others;
  }

  limitsOf({ tenant }: Pick<VehiclePrincipal, 'tenant'>): ClientLimits {
    const { connectionsPerVehicle, connections, bytes, unread, requestsPerSecond } = this.policyOf(tenant);
    return {
      connectionsPerVehicle,
      connectionsPerTenant: connections,
      bytesInFlight: bytes,
      unreadBytes: unread,
      requestsPerSecond,
    };
  }

  resultLimits(tenant: string): ResultLimits {
    return this.policyOf(tenant).results;
  }

  weightOf(tenant: string): number {
    return this.policyOf(tenant).weight;
  }

  refusalOf({ tenant }: Pick<VehiclePrincipal, 'tenant'>): KerbError | undefined {
    if (!this.#policy.refuseOthers || this.#policy.tenants.has(tenant)) return undefined;
    return new KerbError(
      ErrorCode.Unauthenticated,
      `this broker does not serve tenant ${tenant}; whoever runs it lists the tenant in its policy`,
    );
  }

  bounded<T extends BoundedTerms>(offload: T): T {
    const { highestClass, isolation } = this.policyOf(offload.tenant);
    const serviceClass = cappedClass(offload.serviceClass, highestClass);
    const demanded = isolation === 'vm' ? 'vm' : offload.isolation;
    if (serviceClass === offload.serviceClass && demanded === offload.isolation) return offload;
    return { ...offload, serviceClass, isolation: demanded };
  }

  maySee(tenant: string, owners: readonly string[] | undefined): boolean {
    return this.mayRun(tenant, owners) || owners!.some((owner) => matchesAny(this.policyOf(owner).shares.see, tenant));
  }

  mayRun(tenant: string, owners: readonly string[] | undefined): boolean {
    if (owners === undefined || owners.includes(tenant)) return true;
    return owners.some((owner) => matchesAny(this.policyOf(owner).shares.run, tenant));
  }

  check({ tenant, input, deadline }: RuledOffload, memory: number, now: number): Refusal | undefined {
    const may = this.policyOf(tenant);
    const { originalMs } = deadline;
    if (originalMs > may.largestBudgetMs) {
      const sentence = `a budget of ${timeText(originalMs)} is more than the ${timeText(may.largestBudgetMs)} that tenant ${tenant} may ask for`;
      return quotaSpent('largestBudget', sentence);
    }
    if (memory > may.memory) {
      const sentence = `the task may take ${memory} bytes of memory, and tenant ${tenant} may take ${may.memory}`;
      return quotaSpent('memory', sentence);
    }
    if (input.length > may.bytes) {
      const sentence = `${input.length} bytes of input are more than the ${may.bytes} of tenant ${tenant}`;
      return quotaSpent('bytes', sentence);
    }
    const usage = this.#usage.get(tenant);
    return usage === undefined ? undefined : spentBy(tenant, usage, may, input.length, now);
  }

  taken({ tenant, input }: RuledOffload): void {
    const usage = this.#of(tenant);
    usage.offloads++;
    usage.bytes += input.length;
  }

  left({ tenant, input }: RuledOffload, now: number): void {
    const usage = this.#usage.get(tenant);
    if (usage === undefined) return;
    usage.offloads--;
    usage.bytes -= input.length;
    usage.meanGapMs += (now - usage.leftAt - usage.meanGapMs) * MEAN_WEIGHT;
    usage.leftAt = now;
  }

  mayBegin(tenant: string, memory: number, now: number): boolean {
    const usage = this.#usage.get(tenant);
    if (usage === undefined) return true;
    const may = this.policyOf(tenant);
    const fits = usage.running === 0 || usage.memory + memory <= may.memory;
    const hasTime = usage.cpu.leftMs(may.cpu, now) > 0;
    if (fits && hasTime && usage.running < may.running) return true;
    usage.held = true;
    if (!hasTime) this.#wakeWhenRefilled(tenant, usage, now);
    return false;
  }

  begun(tenant: string, memory: number, now: number): TenantRun {
    const usage = this.#of(tenant);
    usage.running++;
    usage.memory += memory;
    const { cpu, longestRunMs } = this.policyOf(tenant);
    // A processor gives no more than a millisecond in each: so far below zero, and no further, one run may bring it.
    const cpuMs = Math.max(1, usage.cpu.leftMs(cpu, now) + cpu.burstMs);
    return { tenant, memory, startedAt: now, longestMs: Math.min(cpuMs, longestRunMs) };
  }

  ended({ tenant, memory, startedAt }: TenantRun, cpuMs: number | undefined, now: number): void {
    const usage = this.#usage.get(tenant);
    if (usage === undefined) return;
    usage.running--;
    usage.memory -= memory;
    // A tender that dies must not compute for nothing.
    const charged = cpuMs ?? now - startedAt;
    usage.cpu.charge(charged, this.policyOf(tenant).cpu, now);
    usage.meanCpuMs += (charged - usage.meanCpuMs) * MEAN_WEIGHT;
    if (usage.held) this.#release(tenant, usage);
  }

  endedEarly({ tenant, longestMs }: TenantRun): Refusal {
    const { cpu, longestRunMs } = this.policyOf(tenant);
    if (longestMs >= longestRunMs) {
      const sentence = `the task was ended after ${timeText(longestMs)}, the longest that a run of tenant ${tenant} may take`;
      return quotaSpent('largestBudget', sentence);
    }
    const wait = this.#usage.get(tenant)?.cpu.waitMs(1, cpu, performance.now()) ?? 0;
    const sentence = `the task was ended after ${timeText(longestMs)}: tenant ${tenant} has used its computing time, ${timeText(cpu.perMinuteMs)} a minute`;
    return quotaSpent('cpu', sentence, wait);
  }

  /** Open use of a tenant beside its quotas, of those that the policy limits. */
  quotaUse(tenant: string, now: number = performance.now()): QuotaUse[] {
    const may = this.policyOf(tenant);
    const { offloads = 0, running = 0, bytes = 0, memory = 0, cpu } = this.#usage.get(tenant) ?? {};
    const all: QuotaUse[] = [
      { quota: 'offloads', used: offloads, limit: may.offloads },
      { quota: 'running', used: running, limit: may.running },
      { quota: 'bytes', used: bytes, limit: may.bytes },
      { quota: 'memory', used: memory, limit: may.memory },
    ];
    const { burstMs } = may.cpu;
    if (cpu !== undefined)
      all.push({ quota: 'cpu', used: Math.round(burstMs - cpu.leftMs(may.cpu, now)), limit: burstMs });
    return all.filter(({ limit }) => Number.isFinite(limit));
  }

  #of(tenant: string): Usage {
    const known = this.#usage.get(tenant);
    if (known !== undefined) return known;
    const now = performance.now();
    if (this.#usage.size >= this.#sweepAt) this.#sweep(now);
    const usage: Usage = {
      offloads: 0,
      bytes: 0,
      running: 0,
      memory: 0,
      cpu: new CpuBucket(now),
      meanCpuMs: 1,
      meanGapMs: 1,
      leftAt: now,
      held: false,
      timer: undefined,
    };
    this.#usage.set(tenant, usage);
    return usage;
  }

  #release(tenant: string, usage: Usage): void {
    clearTimeout(usage.timer);
    usage.timer = undefined;
    usage.held = false;
    this.onMore(tenant);
  }

  #wakeWhenRefilled(tenant: string, usage: Usage, now: number): void {
    if (usage.timer !== undefined) return;
    const { cpu } = this.policyOf(tenant);
    const wait = Math.max(1, Math.min(60_000, Math.ceil(usage.cpu.waitMs(usage.meanCpuMs, cpu, now))));
    usage.timer = setTimeout(() => this.#release(tenant, usage), wait);
  }

  #sweep(now: number): void {
    for (const [tenant, { offloads, running, cpu, timer }] of this.#usage) {
      if (offloads > 0 || running > 0 || !cpu.isFull(this.policyOf(tenant).cpu, now)) continue;
      clearTimeout(timer);
      this.#usage.delete(tenant);
    }
    this.#sweepAt = Math.max(SWEEP_FROM, 2 * this.#usage.size);
  }
}

function spentBy(tenant: string, usage: Usage, may: TenantPolicy, bytes: number, now: number): Refusal | undefined {
  const gap = Math.max(usage.meanGapMs, 1);
  if (usage.offloads >= may.offloads) {
    const sentence = `tenant ${tenant} has ${usage.offloads} offloads waiting and running here, and may have ${may.offloads}`;
    return quotaSpent('offloads', sentence, gap);
  }
  if (usage.bytes + bytes > may.bytes) {
    const sentence = `tenant ${tenant} has ${usage.bytes} bytes of input here and may have ${may.bytes}; ${bytes} more are too many`;
    return quotaSpent('bytes', sentence, gap);
  }
  if (usage.cpu.leftMs(may.cpu, now) <= 0) {
    const sentence = `tenant ${tenant} has used its computing time, ${timeText(may.cpu.perMinuteMs)} a minute`;
    return quotaSpent('cpu', sentence, usage.cpu.waitMs(usage.meanCpuMs, may.cpu, now));
  }
  return undefined;
}
