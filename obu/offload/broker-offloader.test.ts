import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { Deadline } from '../../shared/base/deadline.ts';
import { ErrorCode } from '../../shared/base/errors.ts';
import { silentLog } from '../../shared/base/log.ts';
import { type Credentials, createAuthority, issueCertificate, type Subject } from '../../shared/identity/authority.ts';
import { writeIdentity } from '../../shared/identity/files.ts';
import type { Identity } from '../../shared/identity/identity.ts';
import { fixedIdentity, type IdentitySource } from '../../shared/identity/identity-watch.ts';
import { loadIdentity } from '../../shared/identity/x509-identity.ts';
import type { RoutedOffload } from '../../shared/protocol/offload-request.ts';
import { type FakeAnswer as Answer, DIGEST, FakeBroker, type WireOffload } from '../../test/support/fake-broker.ts';
import { BrokerOffloader } from './broker-offloader.ts';

let root: string;
let authority: Credentials;
let vehicle: Identity;
let nextDir = 0;
let offloader: BrokerOffloader | undefined;
let broker: FakeBroker | undefined;

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'kerb-offload-'));
  authority = await createAuthority('Test CA');
  vehicle = await identity({ kind: 'vehicle', id: 'car-1', tenant: 'ACME' });
});
afterAll(() => rmSync(root, { recursive: true, force: true }));
beforeEach(() => {
  offloader = undefined;
  broker = undefined;
});
afterEach(async () => {
  await offloader?.stop();
  await broker?.stop();
});

async function identity(subject: Subject, issuer = authority): Promise<Identity> {
  const dir = join(root, `d${nextDir++}`);
  await writeIdentity(dir, await issueCertificate(issuer, subject), issuer.certificate);
  return await loadIdentity(dir, subject.kind);
}

async function startBroker(
  onOffload?: (request: WireOffload, answer: Answer) => void,
  port?: number,
): Promise<FakeBroker> {
  const { serverOptions } = await identity({ kind: 'broker', id: 'rsu-1', hosts: [] }).then((own) => ({
    serverOptions: () => own.serverOptions(),
  }));
  broker = await new FakeBroker({ serverOptions, onOffload, port }).start();
  return broker;
}

async function startOffloader(url: string, id = 'rsu-1'): Promise<BrokerOffloader> {
  offloader = new BrokerOffloader({ brokers: [{ id, url }], identity: fixedIdentity(vehicle), log: silentLog() });
  await offloader.start();
  return offloader;
}

const connected = (what: BrokerOffloader) => vi.waitUntil(() => what.places()[0]!.connected, { timeout: 5000 });
const reasonOf = (what: BrokerOffloader, reason: RegExp) =>
  vi.waitFor(() => expect(what.places()[0]!.reason).toMatch(reason), { timeout: 5000 });

let nextId = 0;
function request(change: Partial<RoutedOffload> = {}): RoutedOffload {
  const deadline = new Deadline(5000);
  const input = Buffer.from('picture');
  return { id: `o${nextId++}`, taskDigest: DIGEST, input, isolation: 'any', deadline, priority: 800, ...change };
}

describe('an offload', () => {
  test('goes to the broker and comes home', async () => {
    const { url, received } = await startBroker();
    const own = await startOffloader(url);
    await connected(own);
    expect(own.offers()).toEqual([
      { digest: DIGEST, name: 'echo', version: '1', maxInput: 1000, maxOutput: 1000, hasState: false },
    ]);
    const result = await own.offload(request({ id: 'w/1' }));
    expect(Buffer.from(result.output).toString()).toBe('picture');
    expect(result).toMatchObject({ place: 'broker:rsu-1', isolation: 'process', queueMs: 1, runMs: 2 });
    expect(result.totalMs).toBeGreaterThan(0);
    expect(received[0]).toMatchObject({ id: 'w/1', taskDigest: DIGEST, priority: 800 });
    expect(received[0]!.budgetMs).toBeLessThanOrEqual(5000);
  });

  test('the broker gets less than the workload has once the way is known', async () => {
    const { url, received } = await startBroker((wire, answer) => {
      setTimeout(() => answer({ id: wire.id, result: { output: wire.input }, heldMs: 0 }), 60);
    });
    const own = await startOffloader(url);
    await connected(own);
    await own.offload(request({ deadline: new Deadline(1000) }));
    await own.offload(request({ deadline: new Deadline(1000) }));
    expect(received[1]!.budgetMs).toBeLessThan(1000 - 40);
    await own.offload(request({ deadline: new Deadline(50) })).catch(() => {});
    expect(received[2]!.budgetMs).toBeGreaterThan(20);
  });

  test('an empty output is an output', async () => {
    const { url } = await startBroker((wire, answer) => answer({ id: wire.id, result: {} }));
    const own = await startOffloader(url);
    await connected(own);
    expect((await own.offload(request())).output).toHaveLength(0);
  });
});

describe('failures', () => {
  test('no broker: told at once, with the URL and the reason', async () => {
    const { url, port } = await startBroker();
    await broker!.stop();
    broker = undefined;
    const own = await startOffloader(url);
    await reasonOf(own, /ECONNREFUSED/);
    await expect(own.offload(request())).rejects.toMatchObject({
      code: ErrorCode.NoBroker,
      message: expect.stringMatching(new RegExp(`broker:rsu-1 at https://127.0.0.1:${port}: .*ECONNREFUSED`)),
    });
  });

  test('a silent broker: the budget ends it', async () => {
    const { url } = await startBroker(() => {});
    const own = await startOffloader(url);
    await connected(own);
    await expect(
      own.offload(request({ deadline: new Deadline(59.9712, performance.now(), 1.1712) })),
    ).rejects.toMatchObject({
      code: ErrorCode.BudgetExhausted,
      message: expect.stringMatching(
        /budget of 60 ms ended before broker rsu-1 answered: the task waited or ran too long there/,
      ),
    });
  });

  test('an answer after the budget is ignored', async () => {
    const { url } = await startBroker((wire, answer) => {
      setTimeout(() => answer({ id: wire.id, result: {} }), 80);
    });
    const own = await startOffloader(url);
    await connected(own);
    await expect(own.offload(request({ deadline: new Deadline(30) }))).rejects.toMatchObject({
      code: ErrorCode.BudgetExhausted,
    });
    await sleep(100);
    expect(own.places()[0]).toMatchObject({ connected: true });
  });

  test('a budget of nothing is not sent', async () => {
    const { url, received } = await startBroker();
    const own = await startOffloader(url);
    await connected(own);
    await expect(own.offload(request({ deadline: new Deadline(0) }))).rejects.toMatchObject({
      code: ErrorCode.BudgetExhausted,
    });
    expect(received).toHaveLength(0);
  });

  test('a refusal arrives with the sentence, the code and the hint of the broker', async () => {
    const refusal = { code: ErrorCode.QueueFull, message: '256 offloads wait', retryAfterMs: 40 };
    const { url } = await startBroker((wire, answer) => answer({ id: wire.id, refusal }));
    const own = await startOffloader(url);
    await connected(own);
    await expect(own.offload(request())).rejects.toMatchObject({
      code: ErrorCode.OffloadRefused,
      message: 'broker rsu-1 refused the offload: 256 offloads wait',
      context: { broker: 'rsu-1', refusal: ErrorCode.QueueFull, retryAfterMs: 40 },
    });
  });

  test.each([ErrorCode.BudgetSpentInQueue, ErrorCode.GuestDeadline])(
    '%d is the budget that was spent',
    async (code) => {
      const { url } = await startBroker((wire, answer) =>
        answer({ id: wire.id, refusal: { code, message: 'spent in the queue' } }),
      );
      const own = await startOffloader(url);
      await connected(own);
      await expect(own.offload(request())).rejects.toMatchObject({
        code: ErrorCode.BudgetExhausted,
        message: expect.stringMatching(/at broker rsu-1: spent in the queue/),
      });
    },
  );

  test('more input than was announced is not sent, and costs nobody the connection', async () => {
    const { url, received } = await startBroker();
    const own = await startOffloader(url);
    await connected(own);
    await expect(own.offload(request({ input: Buffer.alloc(1001) }))).rejects.toMatchObject({
      code: ErrorCode.InputTooLarge,
    });
    expect(received).toHaveLength(0);
    expect((await own.offload(request())).place).toBe('broker:rsu-1');
  });

  test.each<[string, (id: string) => Parameters<Answer>[0]]>([
    ['no protobuf', () => Buffer.alloc(20, 0xff)],
    ['nothing', () => Buffer.alloc(0)],
    ['neither result nor refusal', (id) => ({ id })],
    ['the result of another offload', () => ({ id: 'other', result: {} })],
  ])('an answer that is %s', async (_, body) => {
    const { url } = await startBroker((wire, answer) => answer(body(wire.id)));
    const own = await startOffloader(url);
    await connected(own);
    await expect(own.offload(request())).rejects.toMatchObject({ code: ErrorCode.BadProtocolMessage });
  });

  test('the connection goes: all in flight are told at once, and it comes back by itself', async () => {
    let silent = true;
    const onOffload = (wire: WireOffload, answer: Answer) => {
      if (!silent) answer({ id: wire.id, result: {} });
    };
    const { url, port } = await startBroker(onOffload);
    const own = await startOffloader(url);
    await connected(own);
    const inFlight = [own.offload(request()), own.offload(request())];
    await vi.waitUntil(() => broker!.received.length === 2);
    await broker!.stop();
    for (const one of await Promise.allSettled(inFlight)) {
      expect(one).toMatchObject({ status: 'rejected', reason: { code: ErrorCode.BrokerLost } });
    }
    await expect(own.offload(request())).rejects.toMatchObject({ code: ErrorCode.NoBroker });
    silent = false;
    await startBroker(onOffload, port);
    await connected(own);
    expect((await own.offload(request())).place).toBe('broker:rsu-1');
  });

  test.each<[string, (string | Buffer)[]]>([
    ['an empty message', [Buffer.alloc(0)]],
    ['a message that is cut off', [Buffer.from([3, 0, 1])]],
    ['a message of no known type', [Buffer.alloc(100, 0xff)]],
    ['text that is no packet', ['?']],
    ['text where an attachment was announced', ['51-["hello",{"_placeholder":true,"num":0}]', '2["hello"]']],
  ])('a broker that sends %s is left, what was in flight is told, and it gets another chance', async (_, gibberish) => {
    await startBroker(() => broker!.sendRaw(...gibberish));
    const own = await startOffloader(broker!.url);
    await connected(own);
    await expect(own.offload(request())).rejects.toMatchObject({ code: ErrorCode.BrokerLost });
    await connected(own);
  });

  test('a broker that shows its clients the door gets them back', async () => {
    const own = await startOffloader((await startBroker()).url);
    await connected(own);
    broker!.disconnectClients();
    await vi.waitUntil(() => !own.places()[0]!.connected);
    await connected(own);
  });

  test('stop fails what is in flight, and takes the connection back', async () => {
    const own = await startOffloader((await startBroker(() => {})).url);
    await connected(own);
    const inFlight = expect(own.offload(request())).rejects.toMatchObject({ code: ErrorCode.Cancelled });
    await own.stop();
    await inFlight;
    expect(own.places()).toEqual([]);
    await expect(own.offload(request())).rejects.toMatchObject({ code: ErrorCode.NoBroker });
  });
});

describe('cancel', () => {
  const ofVersion2 = { version: 2, broker: 'rsu-1', tasks: [], maxInput: 1000 };

  test('ends what is under way at once, and tells the broker; nobody else is hurt', async () => {
    await startBroker((wire, answer) => {
      if (wire.id === 'stays') setTimeout(() => answer({ id: wire.id, result: {} }), 100);
    });
    broker!.hello = ofVersion2;
    const own = await startOffloader(broker!.url);
    await connected(own);
    const gone = expect(own.offload(request({ id: 'gone' }))).rejects.toMatchObject({ code: ErrorCode.Cancelled });
    const joined = expect(own.offload(request({ id: 'gone' }))).rejects.toMatchObject({ code: ErrorCode.Cancelled });
    const stays = own.offload(request({ id: 'stays' }));
    own.cancel('gone');
    own.cancel('unknown');
    await Promise.all([gone, joined, stays]);
    expect(broker!.cancelled).toEqual(['gone']);
  });

  test('an offload whose budget ends here is not run to its end there, unless somebody else waits for it', async () => {
    await startBroker(() => {});
    broker!.hello = ofVersion2;
    const own = await startOffloader(broker!.url);
    await connected(own);
    const shorter = own.offload(request({ id: 'o', deadline: new Deadline(30) }));
    const longer = own.offload(request({ id: 'o', deadline: new Deadline(150) }));
    await expect(shorter).rejects.toMatchObject({ code: ErrorCode.BudgetExhausted });
    expect(broker!.cancelled).toEqual([]);
    await expect(longer).rejects.toMatchObject({ code: ErrorCode.BudgetExhausted });
    await vi.waitFor(() => expect(broker!.cancelled).toEqual(['o']));
  });

  test('a broker of version 1 is not told: it knows no such message', async () => {
    await startBroker(() => {});
    const own = await startOffloader(broker!.url);
    await connected(own);
    const gone = own.offload(request({ id: 'gone' }));
    own.cancel('gone');
    await expect(gone).rejects.toMatchObject({ code: ErrorCode.Cancelled });
    await expect(own.offload(request({ deadline: new Deadline(50) }))).rejects.toThrow();
    expect(broker!.cancelled).toEqual([]);
  });
});

describe('who is spoken to', () => {
  async function refusedWith(server: Identity, reason: RegExp, id = 'rsu-1'): Promise<void> {
    broker = await new FakeBroker({ serverOptions: () => server.serverOptions() }).start();
    const own = await startOffloader(broker.url, id);
    await reasonOf(own, reason);
    await sleep(300);
    expect(own.places()[0]!.connected).toBe(false);
    expect(broker.received).toHaveLength(0);
  }

  test('not another broker of the same authority', async () => {
    const other = await identity({ kind: 'broker', id: 'rsu-2', hosts: ['127.0.0.1'] });
    await refusedWith(other, /is urn:kerbside:broker:rsu-2, not urn:kerbside:broker:rsu-1/);
  });

  test('not a vehicle that pretends to be one', async () => {
    // The key usage says so before the name does.
    const { serverOptions } = vehicle;
    await refusedWith(
      { ...vehicle, serverOptions: () => serverOptions.call(vehicle) } as Identity,
      /purpose|is urn:kerbside:vehicle/,
    );
  });

  test('not the same name of another authority', async () => {
    const foreign = await createAuthority('Test CA');
    await refusedWith(
      await identity({ kind: 'broker', id: 'rsu-1', hosts: [] }, foreign),
      /not issued by a trusted authority|signature/,
    );
  });

  test("the broker's own words about why we are refused are kept", async () => {
    await startBroker();
    broker!.refuse = 'only vehicles are served here';
    const own = await startOffloader(broker!.url);
    await reasonOf(own, /^only vehicles are served here$/);
    await expect(own.offload(request())).rejects.toThrow(/only vehicles are served here/);
    broker!.refuse = undefined;
    await connected(own);
  });

  test.each<[string, FakeBroker['hello'], RegExp]>([
    ['of another version', { version: 3, broker: 'rsu-1' }, /speaks version 3 of the protocol/],
    ['that is no protobuf', Buffer.alloc(9, 0xff), /announcement cannot be used/],
  ])('an announcement %s', async (_, hello, reason) => {
    await startBroker();
    broker!.hello = hello;
    const own = await startOffloader(broker!.url);
    await reasonOf(own, reason);
    expect(own.places()[0]!.connected).toBe(false);
  });

  test.each(['http://127.0.0.1:1', 'https://127.0.0.1:1/path', 'rsu-1', 'https://a:b@c'])(
    '%s is no URL of a broker',
    async (url) => {
      await expect(startOffloader(url)).rejects.toMatchObject({ code: ErrorCode.BadConfig });
    },
  );
});

describe('an identity that comes late', () => {
  test('is waited for, and everybody is told why; then it is used', async () => {
    const { url } = await startBroker();
    const trouble = 'waiting for the clock: it says 1970-01-01';
    let use: (one: Identity) => void = () => {};
    const late = {
      trouble,
      follow: (take: (one: Identity) => void) => {
        use = take;
        return () => {};
      },
    };
    offloader = new BrokerOffloader({ brokers: [{ id: 'rsu-1', url }], identity: late, log: silentLog() });
    await offloader.start();
    expect(offloader.places()).toEqual([{ place: 'broker:rsu-1', url, connected: false, reason: trouble }]);
    await expect(offloader.offload(request())).rejects.toMatchObject({
      code: ErrorCode.NoBroker,
      message: expect.stringContaining(trouble),
    });
    late.trouble = '';
    use(vehicle);
    await connected(offloader);
    await offloader.offload(request());
  });

  test('and one that is renewed is shown at the next connection, not before', async () => {
    const seen: string[] = [];
    const { url } = await startBroker((wire, answer) => answer({ id: wire.id, result: { output: wire.input } }));
    broker!.onPeer = (serial) => seen.push(serial);
    let use: (one: Identity) => void = () => {};
    const source: IdentitySource = {
      trouble: '',
      follow: (take) => {
        use = take;
        take(vehicle);
        return () => {};
      },
    };
    offloader = new BrokerOffloader({ brokers: [{ id: 'rsu-1', url }], identity: source, log: silentLog() });
    await offloader.start();
    await connected(offloader);
    use(await identity({ kind: 'vehicle', id: 'car-1', tenant: 'ACME' }));
    await offloader.offload(request());
    expect(seen).toHaveLength(1);
    broker!.disconnectClients();
    await vi.waitUntil(() => seen.length > 1, { timeout: 20_000 });
    await connected(offloader);
    await offloader.offload(request());
    expect(new Set(seen).size).toBe(2);
  });
});

test('a broker that hangs is not called connected, and is again when it answers', async () => {
  // Its first ping comes after 25 s: until then it looks like a process that was stopped.
  await startBroker();
  broker!.hello = { version: 1, broker: 'rsu-1', tasks: [], maxInput: 1000 };
  const own = await startOffloader(broker!.url);
  await connected(own);
  await vi.waitUntil(() => !own.places()[0]!.connected, { timeout: 20_000 });
  const [place] = own.places();
  expect(place!.silentMs).toBeGreaterThan(2000);
  expect(place!.reason).toMatch(/^no answer for \d+\.\d s$/);
  // It may only be slow: what is asked of it is sent all the same, and its answer says that it is there.
  await own.offload(request());
  expect(own.places()[0]).toMatchObject({ connected: true, reason: '' });
}, 30_000);

describe('several brokers', () => {
  test('one that offers the task gets it; without one, the first connected says so', async () => {
    const first = await startBroker((wire, answer) =>
      answer({ id: wire.id, refusal: { code: ErrorCode.UnknownPackage, message: 'none such' } }),
    );
    first.hello = { version: 1, broker: 'rsu-1', tasks: [], maxInput: 1000 };
    const second = await identity({ kind: 'broker', id: 'rsu-2', hosts: [] });
    const other = await new FakeBroker({ serverOptions: () => second.serverOptions() }).start();
    try {
      const brokers = [
        { id: 'rsu-1', url: first.url },
        { id: 'rsu-2', url: other.url },
      ];
      offloader = new BrokerOffloader({ brokers, identity: fixedIdentity(vehicle), log: silentLog() });
      await offloader.start();
      const own = offloader;
      await vi.waitUntil(() => own.places().every((place) => place.connected));
      expect((await own.offload(request())).place).toBe('broker:rsu-2');
      const unknown = own.offload(request({ taskDigest: `sha256:${'b'.repeat(64)}` }));
      await expect(unknown).rejects.toMatchObject({ context: { broker: 'rsu-1', refusal: ErrorCode.UnknownPackage } });
    } finally {
      await other.stop();
    }
  });

  test('one that is being drained comes after the others, those that it names before them', async () => {
    const started = [await startBroker()];
    for (const id of ['rsu-2', 'rsu-3']) {
      const own = await identity({ kind: 'broker', id, hosts: [] });
      started.push(await new FakeBroker({ serverOptions: () => own.serverOptions() }).start());
    }
    const [first, second, third] = started as [FakeBroker, FakeBroker, FakeBroker];
    try {
      const brokers = started.map(({ url }, index) => ({ id: `rsu-${index + 1}`, url, cost: index }));
      offloader = new BrokerOffloader({ brokers, identity: fixedIdentity(vehicle), log: silentLog() });
      await offloader.start();
      const own = offloader;
      await vi.waitUntil(() => own.places().every((place) => place.connected));
      const place = async () => (await own.offload(request())).place;
      const drained = () => own.places().map(({ draining }) => draining ?? false);
      expect(await place()).toBe('broker:rsu-1');
      first.drain(Buffer.from([0xff, 0xff]));
      first.drain({ endsInMs: 1000, tryBrokers: [] });
      await vi.waitUntil(() => drained()[0]);
      expect(own.places()[0]).toMatchObject({ connected: true, draining: true });
      expect(await place()).toBe('broker:rsu-2');
      first.drain({ endsInMs: 1000, tryBrokers: ['rsu-9', third.url] });
      await vi.waitUntil(async () => (await place()) === 'broker:rsu-3');
      // Where all are being drained, the first of them is as good as any.
      second.drain({ endsInMs: Number.NaN, tryBrokers: [] });
      third.drain({ endsInMs: 0, tryBrokers: ['rsu-1'] });
      await vi.waitUntil(() => drained().every(Boolean));
      expect(await place()).toBe('broker:rsu-1');
      second.drain(undefined);
      await vi.waitUntil(() => !drained()[1]);
      expect(await place()).toBe('broker:rsu-2');
      // A new connection begins without.
      first.disconnectClients();
      await vi.waitUntil(() => own.places().every((one) => one.connected) && !drained()[0], { timeout: 10_000 });
      expect(await place()).toBe('broker:rsu-1');
    } finally {
      await second.stop();
      await third.stop();
    }
  });

  test('a refusal is followed to the next place, each once, and the table says so', async () => {
    const codes = [ErrorCode.QueueFull, ErrorCode.DeadlineUnreachable, ErrorCode.TaskRefusedInput];
    const asked: string[] = [];
    const started: FakeBroker[] = [];
    for (const [index, code] of codes.entries()) {
      const id = `rsu-${index + 1}`;
      const own = await identity({ kind: 'broker', id, hosts: [] });
      const onOffload = (wire: WireOffload, answer: Answer) => {
        asked.push(id);
        // What the first names goes before the cheaper one; a stranger that it named would count for nothing.
        const tryBroker = index === 0 ? 'rsu-3' : 'stranger';
        if (wire.input.length > 0) answer({ id: wire.id, refusal: { code, message: `${id} says no`, tryBroker } });
        else if (index === 2) answer({ id: wire.id, result: { output: Buffer.from('3') } });
        else answer({ id: wire.id, refusal: { code: ErrorCode.QueueFull, message: 'full', tryBroker } });
      };
      started.push(await new FakeBroker({ serverOptions: () => own.serverOptions(), onOffload }).start());
    }
    try {
      const kinds = ['roadside', 'cell', 'cloud'] as const;
      const brokers = started.map(({ url }, i) => ({ id: `rsu-${i + 1}`, url, kind: kinds[i]! }));
      offloader = new BrokerOffloader({
        brokers,
        identity: fixedIdentity(vehicle),
        vehicle: 'car-1',
        log: silentLog(),
      });
      await offloader.start();
      const own = offloader;
      await vi.waitUntil(() => own.places().every((place) => place.connected));
      expect((await own.offload(request({ id: 'w/a', input: Buffer.alloc(0) }))).place).toBe('broker:rsu-3');
      expect(asked.splice(0)).toEqual(['rsu-1', 'rsu-3']);
      const shown = own.decision('a')!;
      expect(shown).toEqual(own.decision('last'));
      expect(shown.attempts.map(({ place, outcome }) => [place, outcome])).toEqual([
        ['broker:rsu-1', 'broker rsu-1 refused the offload: full'],
        ['broker:rsu-3', 'answered'],
      ]);
      expect(shown.attempts[1]!.places.map(({ kind, verdict }) => [kind, verdict])).toEqual([
        ['roadside', 'tried already'],
        ['cell', 'feasible'],
        ['cloud', 'feasible'],
      ]);
      // The task itself refused this input: it would elsewhere, too.
      const refused = own.offload(request({ id: 'w/b' }));
      await expect(refused).rejects.toMatchObject({ context: { refusal: ErrorCode.TaskRefusedInput } });
      expect(asked.splice(0)).toEqual(['rsu-1', 'rsu-3']);
      // The grant leaves two, and both say no: the last refusal is told.
      const both = own.offload(request({ id: 'w/c', maxCost: 2 }));
      await expect(both).rejects.toMatchObject({
        context: { broker: 'rsu-2', refusal: ErrorCode.DeadlineUnreachable },
      });
      expect(asked.splice(0)).toEqual(['rsu-1', 'rsu-2']);
      const none = own.offload(request({ id: 'w/d', kinds: ['here'] }));
      await expect(none).rejects.toMatchObject({
        code: ErrorCode.NoBroker,
        message: 'no place is left by the grant of the workload (places: [here])',
      });
      expect([asked, own.decision('w/x')]).toEqual([[], undefined]);
    } finally {
      for (const one of started) await one.stop();
    }
  });

  test('none at all', async () => {
    offloader = new BrokerOffloader({ brokers: [], identity: fixedIdentity(vehicle), log: silentLog() });
    await offloader.start();
    await expect(offloader.offload(request())).rejects.toThrow('no broker is configured');
  });
});
