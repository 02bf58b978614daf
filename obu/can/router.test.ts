import { describe, expect, it } from 'vitest';
import { ErrorCode, KerbError } from '../../shared/base/errors.ts';
import type { CanBus } from '../../shared/can/bus.ts';
import { BusCore } from '../../shared/can/bus-core.ts';
import { formatFrame, parseFrameText } from '../../shared/can/candump.ts';
import { parseFilter } from '../../shared/can/filter.ts';
import type { CanFrame } from '../../shared/can/frame.ts';
import { CanRouter } from './router.ts';

/** The part of a bus that the router uses, with frames from the test. */
function testBus() {
  const core = new BusCore();
  const sent: string[] = [];
  const bus: CanBus = {
    name: 'can0',
    kind: 'userspace',
    start: async () => core.up(),
    stop: async () => core.down('stopped'),
    send: (frame) => void sent.push(formatFrame(frame)),
    subscribe: (listener) => core.subscribe(listener),
    onState: (listener) => core.onState(listener),
    state: { state: 'Up' },
    get stats() {
      return core.stats;
    },
  };
  const put = (...texts: string[]) => texts.forEach((text) => void core.deliver(parseFrameText(text)));
  return { bus, sent, put };
}

function collect(router: CanRouter, asked: string[] | undefined, granted: string[], owner?: object) {
  const got: string[] = [];
  const filters = granted.map(parseFilter);
  const end = router.subscribe(
    asked?.map(parseFilter),
    filters,
    (frame: CanFrame) => got.push(formatFrame(frame)),
    owner,
  );
  return { got, end };
}

describe('CanRouter', () => {
  it('delivers what is both asked for and granted', () => {
    const { bus, put } = testBus();
    const router = new CanRouter(bus);
    router.start();
    const all = collect(router, undefined, ['0:0']);
    const granted = collect(router, [], ['100:700']);
    const asked = collect(router, ['120:7F0'], ['100:700']);
    const beyond = collect(router, ['200:7FF'], ['100:700']);
    const none = collect(router, undefined, []);
    for (let i = 0; i < 2; i++) put('123#01', '133#02', '200#03', '1F000123#04');
    expect(all.got).toHaveLength(8);
    expect(granted.got).toEqual(['123#01', '133#02', '1F000123#04', '123#01', '133#02', '1F000123#04']);
    expect(asked.got).toEqual(['123#01', '1F000123#04', '123#01', '1F000123#04']);
    expect(beyond.got).toEqual([]);
    expect(none.got).toEqual([]);
  });

  it('hands what is sent to the bus, and to everybody here but the sender', () => {
    const { bus, put, sent } = testBus();
    const router = new CanRouter(bus);
    router.start();
    const [a, b] = [{}, {}];
    const one = collect(router, undefined, ['0:0'], a);
    const other = collect(router, undefined, ['100:700'], b);
    const nobodys = collect(router, undefined, ['0:0']);
    router.send(parseFrameText('123#01'), a);
    router.send(parseFrameText('123#02'), b);
    router.send(parseFrameText('200#03'), a);
    put('123#04');
    expect(sent).toEqual(['123#01', '123#02', '200#03']);
    expect(one.got).toEqual(['123#02', '123#04']);
    expect(other.got).toEqual(['123#01', '123#04']);
    expect(nobodys.got).toEqual(['123#01', '123#02', '200#03', '123#04']);
  });

  it('hands to nobody what the bus does not take', () => {
    const { bus } = testBus();
    const router = new CanRouter({
      ...bus,
      send: () => {
        throw new KerbError(ErrorCode.BusDown, 'can0 is down');
      },
    });
    router.start();
    const all = collect(router, undefined, ['0:0']);
    expect(() => router.send(parseFrameText('123#01'), {})).toThrow('can0 is down');
    expect(all.got).toEqual([]);
  });

  it('keeps standard, extended and remote frames of one id apart', () => {
    const { bus, put } = testBus();
    const router = new CanRouter(bus);
    router.start();
    const standard = collect(router, undefined, ['123:C00007FF']);
    const extended = collect(router, undefined, ['00000123:DFFFFFFF']);
    put('123#', '00000123#', '123#R', '00000123#R', '123#', '00000123#');
    expect(standard.got).toEqual(['123#', '123#']);
    expect(extended.got).toEqual(['00000123#', '00000123#']);
  });

  it('looks anew after a subscription came or went', () => {
    const { bus, put } = testBus();
    const router = new CanRouter(bus);
    router.start();
    const first = collect(router, undefined, ['123:7FF']);
    put('123#01');
    const second = collect(router, undefined, ['123:7FF']);
    put('123#02');
    first.end();
    first.end();
    put('123#03');
    expect(first.got).toEqual(['123#01', '123#02']);
    expect(second.got).toEqual(['123#02', '123#03']);
  });

  it('lets a listener end another one while a frame is on its way', () => {
    const { bus, put } = testBus();
    const router = new CanRouter(bus);
    router.start();
    let second: ReturnType<typeof collect> | undefined;
    router.subscribe(undefined, [parseFilter('0:0')], () => second?.end());
    second = collect(router, undefined, ['0:0']);
    put('123#01');
    expect(second.got).toEqual([]);
  });

  it('gives error frames only to those who asked for them', () => {
    const { bus, put } = testBus();
    const router = new CanRouter(bus);
    router.start();
    const data = collect(router, undefined, ['0:0']);
    const errors = collect(router, undefined, ['#FFFFFFFF']);
    const other = collect(router, undefined, ['#1']);
    put('20000004#0000000000000000', '004#');
    expect(data.got).toEqual(['004#']);
    expect(errors.got).toEqual(['20000004#0000000000000000']);
    expect(other.got).toEqual([]);
  });

  it('survives a flood of random ids', () => {
    const { bus, put } = testBus();
    const router = new CanRouter(bus);
    router.start();
    const one = collect(router, undefined, ['98DAF110:DFFFFFFF']);
    for (let id = 0; id < 70_000; id++) put(`${id.toString(16).padStart(8, '0')}#`);
    put('18DAF110#01');
    expect(one.got).toEqual(['18DAF110#01']);
  });

  it('hears nothing before start and after stop', () => {
    const { bus, put } = testBus();
    const router = new CanRouter(bus);
    const all = collect(router, undefined, ['0:0']);
    put('001#');
    router.start();
    router.start();
    put('002#');
    router.stop();
    put('003#');
    expect(all.got).toEqual(['002#']);
  });

  it('refuses a bad filter and subscribes nothing', () => {
    const { bus } = testBus();
    const router = new CanRouter(bus);
    const bad = expect.objectContaining({ code: ErrorCode.BadCanFilter });
    expect(() => collect(router, ['12'], ['0:0'])).toThrow(bad);
    expect(() => collect(router, undefined, ['xyz:7FF'])).toThrow(bad);
  });
});
