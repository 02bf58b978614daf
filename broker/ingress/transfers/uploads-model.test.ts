/**
 * Uploads and the sender of a vehicle against each other, in virtual time: announcements, chunks, credits, lost connections,
 * resumed inputs, cancels, spent budgets and a wire that is full, in any order. Whatever happens, each offload is answered as
 * soon as all that is on its way has arrived: if one has to wait until it counts as stalled, a wake-up was lost.
 */
import { createHash } from 'node:crypto';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Deadline } from '../../../shared/base/deadline.ts';
import type { Refusal } from '../../../shared/base/refusal.ts';
import { decodeChunk, decodeCredit } from '../../../shared/protocol/chunks.ts';
import { ChunkSender } from '../../../shared/v2e-client/chunks/chunk-sender.ts';
import { Random } from '../../../test/fuzz/mutants.ts';
import { rounds } from '../../../test/support/rounds.ts';
import type { AnnouncedOffload } from '../../offloads/offload.ts';
import type { TransferEnd, TransferMetrics } from '../../telemetry/transfer-metrics.ts';
import type { Sender } from '../limits/senders.ts';
import type { TransferLink } from './transfer-link.ts';
import { Uploads } from './uploads.ts';

const KIB = 1024;
const ROUNDS = rounds(40, 1000);
const STEPS = 150;
const LIMITS = {
  ...{ activePerVehicle: 2, openPerVehicle: 8, keptPerVehicle: 2, maxJoined: 3, maxBytes: 2048 * KIB },
  ...{ stallMs: 10_000, resumeMs: 30_000 },
};
/** Some come at one credit, and one has to ask for more again and again. */
const INPUTS = [150 * KIB, 300 * KIB, 1100 * KIB].map((size, n) => Buffer.alloc(size, n + 1));
const DIGESTS = INPUTS.map((input) => createHash('sha256').update(input).digest('base64'));

beforeEach(() => void vi.useFakeTimers({ toFake: ['performance', 'setInterval', 'clearInterval', 'Date'] }));
afterEach(() => void vi.useRealTimers());

type Message = () => void;

/** A connection: what is written on one side arrives later at the other one, in order. */
class Wire {
  isUp = true;
  isFull = false;
  readonly up: Message[] = [];
  readonly down: Message[] = [];
  readonly open = new Set<Asked>();
  readonly sender: ChunkSender;
  readonly link: TransferLink;

  constructor(world: World) {
    const wire = this;
    this.sender = new ChunkSender({
      get canWrite() {
        return wire.isUp && !wire.isFull && wire.up.length < 4;
      },
      send: (_event, bytes) => {
        wire.up.push(() => world.chunk(wire, decodeChunk(bytes)));
      },
    });
    this.link = {
      client: { kind: 'vehicle', tenant: 'ACME', id: 'car-1' } as never,
      sender: world.vehicle,
      canWrite: true,
      get isServed() {
        return wire.isUp;
      },
      write: (_event, bytes) => {
        if (wire.isUp) wire.down.push(() => wire.sender.credit(decodeCredit(bytes)));
      },
    };
  }
}

interface Asked {
  readonly input: number;
  readonly wire: Wire;
  /** Told by the broker, whether or not the vehicle has heard it. */
  end: string;
}

class World {
  readonly ends: TransferEnd[] = [];
  readonly asked: Asked[] = [];
  readonly vehicle = { hindrance: () => '', hold: () => {}, release: () => {} } as unknown as Sender;
  readonly uploads: Uploads;
  readonly wires: Wire[];
  /** Answers come by a disk that takes its time. */
  readonly later: Message[] = [];

  constructor() {
    const metrics = { ended: (_: string, end: TransferEnd) => this.ends.push(end), moved: () => {}, resumed: () => {} };
    this.uploads = new Uploads({
      limits: LIMITS,
      metrics: metrics as unknown as TransferMetrics,
      submit: (_offload, answer) => answer({ output: Buffer.alloc(0) } as never, undefined),
    });
    this.wires = [new Wire(this), new Wire(this)];
  }

  announce(wire: Wire, input: number, budgetMs: number, keepMs: number, isLate: boolean): void {
    const one: Asked = { input, wire, end: '' };
    const id = `o${input}`;
    wire.open.add(one);
    wire.sender.add(id, INPUTS[input]!);
    wire.up.push(() => {
      this.asked.push(one);
      const offload = {
        ...{ id, tenant: 'ACME', vehicle: 'car-1', taskDigest: 't', input: { length: INPUTS[input]!.length } },
        ...{
          inputDigest: DIGESTS[input]!,
          serviceClass: 'normal',
          keepMs,
          dwellMs: 0,
          deadline: new Deadline(budgetMs),
        },
      } as unknown as AnnouncedOffload;
      const answer = (_result: unknown, refusal: Refusal | undefined) => {
        expect(one.end, 'it is answered once').toBe('');
        one.end = refusal?.message ?? 'done';
        if (wire.isUp) wire.down.push(() => wire.open.delete(one) && wire.sender.remove(id));
      };
      const want = () => this.uploads.add({ offload, answer, link: wire.link });
      if (isLate) this.later.push(want);
      else want();
    });
  }

  chunk(wire: Wire, chunk: ReturnType<typeof decodeChunk>): void {
    try {
      this.uploads.take(wire.link, chunk);
    } catch {
      // Its offloads have the reason.
    }
  }

  cancel(wire: Wire, input: number): void {
    const ended = [...wire.open].filter((one) => one.input === input);
    for (const one of ended) {
      wire.open.delete(one);
      wire.sender.remove(`o${input}`);
    }
    if (ended.length === 0) return;
    wire.up.push(() => {
      // A cancel of one that is still looked for among the results is not tried here: it is not heard yet.
      for (const want of this.later.splice(0)) want();
      this.uploads.cancel('ACME', 'car-1', `o${input}`);
    });
  }

  lose(n: number): void {
    const wire = this.wires[n]!;
    wire.isUp = false;
    wire.sender.clear();
    this.uploads.linkLost(wire.link);
    this.wires[n] = new Wire(this);
  }

  /** @returns false: nothing was on its way */
  move(wire: Wire, isUp: boolean): boolean {
    const message = (isUp ? wire.up : wire.down).shift();
    message?.();
    if (isUp) wire.sender.pump();
    return message !== undefined;
  }

  /** Everything that is on its way arrives; no time passes. */
  async settle(): Promise<void> {
    for (const want of this.later.splice(0)) want();
    for (const wire of this.wires) {
      wire.isFull = false;
      wire.sender.pump();
    }
    for (let quiet = 0; quiet < 20; ) {
      const isMoving = this.wires.map((wire) => this.move(wire, true) || this.move(wire, false)).some(Boolean);
      if (isMoving) quiet = 0;
      else quiet++;
      // Hashes are of another thread.
      if (!isMoving) await new Promise((resolve) => setTimeout(resolve, this.uploads.counts().states.checking ? 5 : 0));
      if (this.uploads.counts().states.checking) quiet = 0;
    }
  }
}

function step(world: World, random: Random): void {
  const n = random.below(2);
  const wire = world.wires[n]!;
  const what = random.below(100);
  if (what < 40) world.move(wire, true);
  else if (what < 70) world.move(wire, false);
  else if (what < 82) {
    const budgetMs = random.below(4) === 0 ? 400 : 60_000;
    world.announce(wire, random.below(INPUTS.length), budgetMs, random.below(2) * 5000, random.below(4) === 0);
  } else if (what < 85) world.cancel(wire, random.below(INPUTS.length));
  else if (what < 88) world.lose(n);
  else if (what < 91) world.later.shift()?.();
  else if (what < 95) {
    wire.isFull = !wire.isFull;
    wire.sender.pump();
  } else vi.advanceTimersByTime(random.below(300));
}

test('whatever happens to inputs on their way, each offload is answered without a wait for the stall', async () => {
  const all = new Set<TransferEnd>();
  for (let round = 0; round < ROUNDS; round++) {
    const random = new Random(1000 + round);
    const world = new World();
    for (let n = 0; n < STEPS; n++) step(world, random);
    await world.settle();
    // Only inputs that are kept for a vehicle that has not come back may still hold memory.
    vi.advanceTimersByTime(6000);
    await world.settle();
    const open = world.asked.filter(({ end }) => end === '').map(({ input }) => input);
    expect({ round, open, bytes: world.uploads.counts().bytes }).toEqual({ round, open: [], bytes: 0 });
    const bad = world.asked.map(({ end }) => end).filter((end) => /cannot be used|stopped coming/.test(end));
    expect({ round, bad }).toEqual({ round, bad: [] });
    for (const end of world.ends) all.add(end);
    world.uploads.stop();
  }
  // Else it has tried too little.
  expect([...all].sort()).toEqual(expect.arrayContaining(['cancelled', 'done', 'late', 'lost']));
});
