/**
 * The OBU's own state as ordinary signals, under `Vehicle.ControlUnit.<OBU>` of VSS 6.0. What VSS has no leaf for
 * (uptime, workloads) is in the branch `Kerbside` below it, as VSS wants additions to be.
 */
import { readFileSync } from 'node:fs';
import { cpus, freemem, totalmem } from 'node:os';
import type { ProvidedValue, SignalDatum, SignalInfo, SignalProvider } from '../../shared/vss/signal.ts';
import type { VssLeaf } from '../../shared/vss/vss-mapping.ts';

const PERIOD_MS = 2000;
/** Silent for this long, and it is stale: three periods and a busy moment. */
const TTL_MS = 10_000;

const THERMAL_ZONE = '/sys/class/thermal/thermal_zone0/temp';

interface Own {
  readonly leaf: string;
  readonly datatype: string;
  readonly unit?: string;
  readonly limits?: readonly [min: number, max: number];
  readonly description: string;
}

const own = {
  cpu: {
    leaf: 'Health.Resources.Utilization.CPU',
    datatype: 'float',
    unit: 'percent',
    limits: [0, 100],
    description: 'CPU utilization',
  },
  memory: {
    leaf: 'Health.Resources.Utilization.Memory',
    datatype: 'float',
    unit: 'percent',
    limits: [0, 100],
    description: 'Memory utilization',
  },
  temperature: {
    leaf: 'Health.Resources.Temperature',
    datatype: 'float',
    unit: 'celsius',
    description: 'Temperature of the first thermal zone',
  },
  can: {
    leaf: 'Health.Network.CAN.IsNetworkOK',
    datatype: 'boolean',
    description: 'Whether every bus of this OBU is up',
  },
  uptime: {
    leaf: 'Kerbside.Uptime',
    datatype: 'uint32',
    unit: 's',
    description: 'Since the OBU runtime was started',
  },
  workloads: {
    leaf: 'Kerbside.Workloads.Total',
    datatype: 'uint16',
    description: 'Workloads in the manifest',
  },
  running: {
    leaf: 'Kerbside.Workloads.Running',
    datatype: 'uint16',
    description: 'Workloads that are in state Running',
  },
  failed: {
    leaf: 'Kerbside.Workloads.Failed',
    datatype: 'uint16',
    description: 'Workloads that are in state Failed',
  },
} as const satisfies Readonly<Record<string, Own>>;

/** `Vehicle.ControlUnit.Obu1` for "obu-1": names in VSS are letters and digits, each word with a capital. */
export function controlUnitOf(obu: string): string {
  const words = obu.split(/[^A-Za-z0-9]+/).filter((word) => word !== '');
  const name = words.map((word) => word[0]!.toUpperCase() + word.slice(1)).join('');
  return `Vehicle.ControlUnit.${/^[A-Z]/.test(name) ? name : `Unit${name}`}`;
}

/** The leaves of an OBU of this name, on this machine. */
export function ownLeaves(obu: string): VssLeaf[] {
  const here = Object.values<Own>(own).filter((one) => one !== own.temperature || readTemperature() !== undefined);
  return here.map(({ leaf, datatype, unit = '', limits, description }) => {
    const path = `${controlUnitOf(obu)}.${leaf}`;
    const info: SignalInfo = {
      path,
      datatype,
      unit,
      description,
      type: 'sensor',
      comment: '',
      deprecation: '',
      min: limits?.[0],
      max: limits?.[1],
      allowed: undefined,
    };
    return { file: 'the OBU itself', path, info, feed: undefined, target: undefined, providedTtlMs: TTL_MS };
  });
}

export interface ControlUnitSignalsParts {
  readonly obu: string;
  readonly provider: SignalProvider;
  /** Of each bus, whether it is up. */
  readonly buses: () => readonly boolean[];
  /** State word of each workload; undefined until they are known. */
  readonly workloads: () => readonly string[] | undefined;
}

/** Publishes the OBU's own state every two seconds. */
export class ControlUnitSignals {
  readonly #parts: ControlUnitSignalsParts;
  #timer: NodeJS.Timeout | undefined;
  #startedMs = 0;
  #before = { busy: 0, total: 0 };

  constructor(parts: ControlUnitSignalsParts) {
    this.#parts = parts;
  }

  start(): void {
    this.#startedMs = performance.now();
    this.#before = cpuTimes();
    this.#timer = setInterval(() => this.#publish(), PERIOD_MS);
    this.#timer.unref();
    this.#publish();
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#parts.provider.close();
  }

  #publish(): void {
    const { obu, provider, buses, workloads } = this.#parts;
    const unit = controlUnitOf(obu);
    const values: ProvidedValue[] = [];
    const say = ({ leaf }: Own, value: SignalDatum | undefined) => {
      if (value !== undefined) values.push({ path: `${unit}.${leaf}`, value });
    };
    const now = cpuTimes();
    const total = now.total - this.#before.total;
    if (total > 0) say(own.cpu, percent((now.busy - this.#before.busy) / total));
    this.#before = now;
    say(own.memory, percent(1 - freemem() / totalmem()));
    say(own.temperature, readTemperature());
    say(own.can, buses().every(Boolean));
    say(own.uptime, Math.floor((performance.now() - this.#startedMs) / 1000));
    const states = workloads();
    say(own.workloads, states?.length);
    say(own.running, states?.filter((state) => state === 'Running').length);
    say(own.failed, states?.filter((state) => state === 'Failed').length);
    provider.provide(values);
  }
}

/** Degrees; undefined on a machine that has no thermal zone, or cannot read it now. */
function readTemperature(): number | undefined {
  try {
    const millidegrees = Number(readFileSync(THERMAL_ZONE, 'utf8'));
    return Number.isFinite(millidegrees) ? millidegrees / 1000 : undefined;
  } catch {
    return undefined;
  }
}

function percent(share: number): number {
  return Math.min(100, Math.max(0, Math.round(share * 1000) / 10));
}

/** Milliseconds of all CPUs since boot. */
function cpuTimes(): { readonly busy: number; readonly total: number } {
  let [idle, total] = [0, 0];
  for (const { times } of cpus()) {
    idle += times.idle;
    total += times.user + times.nice + times.sys + times.idle + times.irq;
  }
  return { busy: total - idle, total };
}
