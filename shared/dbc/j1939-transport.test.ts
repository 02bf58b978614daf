import { describe, expect, it } from 'vitest';
import { parseFrameText } from '../can/candump.ts';
import { J1939Transport } from './j1939-transport.ts';

/** A transport that wants FEEB and EF00, and what it delivered: `ID#DATA`. */
function listen(isWanted = (pgn: number): boolean => pgn === 0xfeeb || pgn === 0xef00) {
  const messages: string[] = [];
  const transport = new J1939Transport(isWanted, (id, data) => {
    messages.push(`${id.toString(16)}#${Buffer.from(data).toString('hex')}`);
  });
  let nowMs = 0;
  const hear = (...texts: string[]) => {
    for (const text of texts) {
      const { id, data } = parseFrameText(text);
      transport.receive(id, data, 1e15 + nowMs * 1000, nowMs);
    }
  };
  return {
    messages,
    transport,
    hear,
    wait: (ms: number) => {
      nowMs += ms;
    },
    /** The clock of this machine alone, or that of the bus alone. */
    at: (text: string, timeUs: number, now: number) => {
      const { id, data } = parseFrameText(text);
      transport.receive(id, data, timeUs, now);
    },
  };
}

// 20 bytes from 00 to all: 14 hex, 3 packets, PGN FEEB.
const BAM = '1CECFF00#20140003FFEBFE00';
const DATA = ['1CEBFF00#0101020304050607', '1CEBFF00#0208090A0B0C0D0E', '1CEBFF00#030F1011121314FF'];
const WHOLE = '102030405060708090a0b0c0d0e0f1011121314'.padStart(40, '0');
// 15 bytes from 21 to 05: 0F, 3 packets, at most 2 for a CTS, PGN EF00.
const RTS = '1CEC0521#100F00030200EF00';
const clear = (count: number, next: number) => `1CEC2105#11${hex(count)}${hex(next)}FFFF00EF00`;
const part = (number: number, fill: number) => `1CEB0521#${hex(number)}${hex(fill).repeat(7)}`;
const END = '1CEC2105#130F0003FF00EF00';
const ABORT = '1CEC2105#FF01FFFFFF00EF00';
const hex = (byte: number) => byte.toString(16).padStart(2, '0').toUpperCase();
const LONG = `ef0521#${'aa'.repeat(7)}${'bb'.repeat(7)}cc`;

describe('a broadcast', () => {
  it('comes whole, without what fills the last packet', () => {
    const { hear, messages, transport } = listen();
    hear(BAM, ...DATA);
    expect(messages).toEqual([`feeb00#${WHOLE}`]);
    expect([transport.open, transport.lost]).toEqual([0, 0]);
  });

  it('may be as long as 1785 bytes', () => {
    const { hear, messages } = listen();
    // 1785 = 6F9, 255 packets.
    hear('1CECFF00#20F906FFFFEBFE00');
    for (let i = 1; i <= 255; i++) hear(`1CEBFF00#${hex(i)}${hex(i).repeat(7)}`);
    expect(messages).toHaveLength(1);
    expect(messages[0]!.length).toBe('feeb00#'.length + 2 * 1785);
    expect(messages[0]!.endsWith('ff'.repeat(7))).toBe(true);
  });

  it('does not mix with those of other senders', () => {
    const { hear, messages } = listen();
    const other = (text: string) => text.replace('FF00#', 'FF17#');
    hear(BAM, other(BAM), DATA[0]!, DATA[1]!, other(DATA[0]!), other(DATA[1]!), other(DATA[2]!), DATA[2]!);
    expect(messages).toEqual([`feeb17#${WHOLE}`, `feeb00#${WHOLE}`]);
  });

  it('is lost with one packet, whatever comes after it', () => {
    for (const parts of [
      [DATA[0]!, DATA[2]!],
      [DATA[1]!],
      [DATA[0]!, '1CEBFF00#0001020304050607'],
      // The rest of one message, and the packets of another whose announcement was lost: no mixture.
      [DATA[0]!, DATA[1]!, DATA[0]!, DATA[1]!, DATA[2]!],
    ]) {
      const { hear, messages, transport } = listen();
      hear(BAM, ...parts);
      expect(messages).toEqual([]);
      expect([transport.open, transport.lost]).toEqual([0, 1]);
      hear(BAM, ...DATA);
      expect(messages).toHaveLength(1);
    }
  });

  it('may repeat a packet', () => {
    const { hear, messages } = listen();
    hear(BAM, DATA[0]!, DATA[0]!, DATA[1]!, DATA[2]!, DATA[2]!);
    expect(messages).toEqual([`feeb00#${WHOLE}`]);
  });

  it('is replaced by a new one of its sender, also by one that nobody wants', () => {
    const { hear, messages, transport } = listen();
    hear(BAM, DATA[0]!, BAM, ...DATA);
    expect(messages).toHaveLength(1);
    hear(BAM, DATA[0]!, '1CECFF00#20140003FFE6FE00', ...DATA);
    expect(messages).toHaveLength(1);
    expect([transport.open, transport.lost]).toEqual([0, 2]);
  });

  it('may be silent for 750 ms, and no longer', () => {
    const { hear, messages, wait } = listen();
    hear(BAM);
    for (const one of DATA) {
      wait(750);
      hear(one);
    }
    expect(messages).toHaveLength(1);
    hear(BAM, DATA[0]!);
    wait(751);
    hear(DATA[1]!, DATA[2]!);
    expect(messages).toHaveLength(1);
  });

  it('is not lost when this program got no processor, or the clock of the bus was set', () => {
    const { at, messages } = listen();
    // Both frames came within 50 ms; the second one waited in a queue.
    at(BAM, 1e15, 0);
    at(DATA[0]!, 1e15 + 50_000, 5000);
    at(DATA[1]!, 2e15, 5010);
    at(DATA[2]!, 1e12, 5020);
    expect(messages).toHaveLength(1);
    // Silent by our clock, and the clock of the bus goes back: that is silence.
    at(BAM, 2e15, 6000);
    at(DATA[0]!, 1e15, 9000);
    at(DATA[1]!, 1e15, 9001);
    at(DATA[2]!, 1e15, 9002);
    expect(messages).toHaveLength(1);
  });
});

describe('a message from one to another', () => {
  it('comes whole, with what the receiver says in between', () => {
    const { hear, messages, transport } = listen();
    hear(RTS, clear(2, 1), part(1, 0xaa), part(2, 0xbb), clear(1, 3), part(3, 0xcc), END);
    expect(messages).toEqual([LONG]);
    expect([transport.open, transport.lost]).toEqual([0, 0]);
  });

  it('comes when the receiver asks for packets once more', () => {
    const { hear, messages } = listen();
    hear(RTS, clear(3, 1), part(1, 0xaa), part(3, 0xcc), clear(2, 2), part(2, 0xbb), part(3, 0xcc), END);
    expect(messages).toEqual([LONG]);
    hear(RTS, clear(3, 1), part(1, 0x11), part(2, 0x22), clear(3, 1), part(1, 0xaa), part(2, 0xbb), part(3, 0xcc));
    expect(messages).toEqual([LONG, LONG]);
  });

  it('is lost when the receiver has what we have not', () => {
    const { hear, messages, transport } = listen();
    hear(RTS, clear(2, 1), part(2, 0xbb), clear(1, 3), part(3, 0xcc), END);
    expect(messages).toEqual([]);
    expect([transport.open, transport.lost]).toEqual([0, 1]);
    hear(RTS, clear(3, 1), part(1, 0xaa), part(3, 0xcc), END);
    expect([transport.open, transport.lost]).toEqual([0, 2]);
  });

  it('ends with an abort of either side, for its PGN', () => {
    const fromSender = '1CEC0521#FF01FFFFFF00EF00';
    const ofOther = '1CEC2105#FF01FFFFFFEBFE00';
    for (const abort of [ABORT, fromSender]) {
      const { hear, messages, transport } = listen();
      hear(RTS, clear(3, 1), part(1, 0xaa), abort, part(2, 0xbb), part(3, 0xcc));
      expect(messages).toEqual([]);
      expect([transport.open, transport.lost]).toEqual([0, 1]);
    }
    const { hear, messages } = listen();
    hear(RTS, clear(3, 1), part(1, 0xaa), ofOther, part(2, 0xbb), part(3, 0xcc));
    expect(messages).toEqual([LONG]);
  });

  it('waits for the receiver as long as the standard lets it', () => {
    const { hear, messages, wait } = listen();
    hear(RTS);
    wait(1250);
    hear(clear(0, 0xff));
    wait(1050);
    hear(clear(2, 1));
    wait(1250);
    hear(part(1, 0xaa), part(2, 0xbb));
    wait(1250);
    hear(clear(1, 3));
    wait(1250);
    hear(part(3, 0xcc));
    expect(messages).toEqual([LONG]);
    hear(RTS, clear(3, 1), part(1, 0xaa));
    wait(751);
    hear(part(2, 0xbb), part(3, 0xcc));
    expect(messages).toEqual([LONG]);
  });

  it('goes beside a broadcast of its sender, and one to another receiver', () => {
    const { hear, messages } = listen();
    const bam = (text: string) => text.replace('FF00#', 'FF21#');
    const other = (text: string) => text.replace('0521#', '0621#');
    hear(RTS, bam(BAM), other(RTS), part(1, 0xaa), bam(DATA[0]!), other(part(1, 0xaa)), part(2, 0xbb));
    hear(bam(DATA[1]!), bam(DATA[2]!), other(part(2, 0xbb)), other(part(3, 0xcc)), part(3, 0xcc));
    expect(messages).toEqual([`feeb21#${WHOLE}`, LONG.replace('ef0521', 'ef0621'), LONG]);
  });
});

describe('what is no message', () => {
  it.each([
    ['too short', '1CECFF00#20080002FFEBFE00'],
    ['no bytes', '1CECFF00#20000000FFEBFE00'],
    ['too long', '1CECFF00#20FFFFFFFFEBFE00'],
    ['too many packets', '1CECFF00#20140004FFEBFE00'],
    ['too few packets', '1CECFF00#20140002FFEBFE00'],
    ['nobody wants it', '1CECFF00#20140003FFE6FE00'],
    ['from nobody', '1CECFFFE#20140003FFEBFE00'],
    ['a broadcast to one', '1CEC0500#20140003FFEBFE00'],
    ['a request to all', '1CECFF00#10140003FFEBFE00'],
    ['an unknown word', '1CECFF00#55140003FFEBFE00'],
    ['too few bytes', '1CECFF00#20140003FFEBFE'],
  ])('%s', (_, announcement) => {
    const { hear, messages, transport } = listen();
    hear(announcement, ...DATA);
    expect(messages).toEqual([]);
    expect(transport.open).toBe(0);
  });

  it('takes packets of eight bytes only', () => {
    const { hear, messages } = listen();
    hear(BAM, DATA[0]!, DATA[1]!, '1CEBFF00#030F10');
    expect(messages).toEqual([]);
  });

  it('keeps a bounded number, and broadcasts whatever else is announced', () => {
    const { hear, messages, transport } = listen();
    hear(BAM);
    for (let from = 0; from < 254; from++) {
      for (let to = 0; to < 254; to += 8) hear(`1CEC${hex(to)}${hex(from)}#100F00030200EF00`);
    }
    expect(transport.open).toBe(65);
    hear(...DATA);
    expect(messages).toEqual([`feeb00#${WHOLE}`]);
    for (let from = 0; from < 256; from++) hear(`1CECFF${hex(from)}#20F906FFFFEBFE00`);
    expect(transport.open).toBe(64 + 254);
  });

  it('takes any frames without harm', () => {
    const { hear, transport } = listen(() => true);
    let seed = 5;
    const random = (below: number) => {
      seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
      return (seed >>> 8) % below;
    };
    for (let i = 0; i < 50_000; i++) {
      const id = `1CE${random(2) ? 'C' : 'B'}${hex(random(4) ? random(4) : 255)}${hex(random(6))}`;
      const first = [16, 17, 19, 32, 255, random(256)][random(6)]!;
      const rest = Array.from({ length: 7 }, () => hex(random(3) ? random(8) : random(256))).join('');
      hear(`${id}#${hex(first)}${rest}`);
    }
    expect(transport.open).toBeLessThan(64 + 254);
  });
});
