import { describe, expect, test } from 'vitest';
import type { TenderOutcome } from '../../broker/tenders/process/tender.ts';
import { rounds } from '../support/rounds.ts';
import { answer, Tenders } from './support.ts';

const tenders = new Tenders();
const call = async (task: string, text: string): Promise<TenderOutcome> =>
  (await tenders.task(task)).call(Buffer.from(text), 5_000);

/** A sensor's text: what it measures and its readings. */
const sensor = (pollutant: string, readings: readonly (string | number)[]): string =>
  [pollutant, ...readings].join('\n');
const aqi = async (pollutant: string, readings: readonly (string | number)[]): Promise<string> =>
  answer(await call('aqi', sensor(pollutant, readings)));
const hours = <T>(count: number, reading: T): T[] => Array.from({ length: count }, () => reading);

// EPA-454/B-24-002, table 6, as printed: a line of concentrations, then the indices that both of its ends have.
const table: Record<string, readonly (readonly [string, string, number, number])[]> = {
  'PM2.5': [
    ['0.0', '9.0', 0, 50],
    ['9.1', '35.4', 51, 100],
    ['35.5', '55.4', 101, 150],
    ['55.5', '125.4', 151, 200],
    ['125.5', '225.4', 201, 300],
    ['225.5', '325.4', 301, 500],
  ],
  PM10: [
    ['0', '54', 0, 50],
    ['55', '154', 51, 100],
    ['155', '254', 101, 150],
    ['255', '354', 151, 200],
    ['355', '424', 201, 300],
    ['425', '604', 301, 500],
  ],
  O3: [
    ['0.000', '0.054', 0, 50],
    ['0.055', '0.070', 51, 100],
    ['0.071', '0.085', 101, 150],
    ['0.086', '0.105', 151, 200],
    ['0.106', '0.200', 201, 300],
  ],
  'O3 1h': [
    ['0.125', '0.164', 101, 150],
    ['0.165', '0.204', 151, 200],
    ['0.205', '0.404', 201, 300],
    ['0.405', '0.604', 301, 500],
  ],
  CO: [
    ['0.0', '4.4', 0, 50],
    ['4.5', '9.4', 51, 100],
    ['9.5', '12.4', 101, 150],
    ['12.5', '15.4', 151, 200],
    ['15.5', '30.4', 201, 300],
    ['30.5', '50.4', 301, 500],
  ],
  SO2: [
    ['0', '35', 0, 50],
    ['36', '75', 51, 100],
    ['76', '185', 101, 150],
    ['186', '304', 151, 200],
  ],
  'SO2 24h': [
    ['305', '604', 201, 300],
    ['605', '1004', 301, 500],
  ],
  NO2: [
    ['0', '53', 0, 50],
    ['54', '100', 51, 100],
    ['101', '360', 101, 150],
    ['361', '649', 151, 200],
    ['650', '1249', 201, 300],
    ['1250', '2049', 301, 500],
  ],
};

/** Equation 1 of the document in floating point, with its rounding; undefined below the table. */
function index(name: string, concentration: string): number | undefined {
  const lines = table[name]!;
  const value = Number(concentration);
  const found = lines.findLast(([low]) => value >= Number(low));
  if (found === undefined) return undefined;
  const [low, high, indexLow, indexHigh] = found;
  const exact = ((indexHigh - indexLow) / (Number(high) - Number(low))) * (value - Number(low)) + indexLow;
  return Math.floor(exact + 0.5 + 1e-9); // a half that floating point made a little smaller is still a half
}

/** How many concentrations lie between two that are tried, away from the ends of a table's lines. */
const STRIDE = rounds(11, 1);

/**
 * The concentrations that the lines of a table can tell apart: both ends of every line and their neighbours, and every
 * STRIDE-th of the others.
 */
function concentrations(name: string): string[] {
  const lines = table[name]!;
  const decimals = lines[0]![0].split('.')[1]?.length ?? 0;
  const step = 10 ** decimals;
  const inSteps = (text: string): number => Math.round(Number(text) * step);
  const ends = new Set(lines.flatMap(([low, high]) => [inSteps(low), inSteps(high)]));
  const first = inSteps(lines[0]![0]);
  const last = inSteps(lines.at(-1)![1]);
  const all = Array.from({ length: last - first + 1 }, (_, i) => first + i);
  const tried = all.filter((at, i) => i % STRIDE === 0 || [at - 1, at, at + 1].some((near) => ends.has(near)));
  return tried.map((at) => (at / step).toFixed(decimals));
}

describe('aqi', () => {
  // Of the document's own examples, part IV: ozone of 8 hours, PM2.5 and CO give 126, 102 and 90.
  test.each([
    ['O3', '0.07853333', 'O3 0.078 126\n'],
    ['PM2.5', '35.92431999', 'PM2.5 35.9 102\n'],
    ['CO', '8.47532711', 'CO 8.4 90\n'],
  ])("has the document's own example for %s", async (pollutant, reading, expected) => {
    expect(await aqi(pollutant, hours(24, reading))).toBe(expected);
  });

  test.each(['PM2.5', 'PM10', 'CO', 'NO2', 'SO2'])('is right for the concentrations of %s', async (pollutant) => {
    for (const concentration of concentrations(pollutant)) {
      const wanted = `${pollutant} ${concentration} ${index(pollutant, concentration)}\n`;
      expect(await aqi(pollutant, hours(24, concentration))).toBe(wanted);
    }
  });

  test('is right for ozone concentrations of 8 hours', async () => {
    for (const concentration of concentrations('O3')) {
      const byMean = index('O3', concentration)!;
      const byHour = index('O3 1h', concentration) ?? -1;
      const wanted = Math.max(byMean, byHour);
      expect(await aqi('O3', hours(8, concentration))).toBe(`O3 ${concentration} ${wanted}\n`);
    }
  });

  test('takes one hour of ozone where that is worse, and alone above 0.200 ppm', async () => {
    for (const concentration of concentrations('O3 1h')) {
      // One bad hour in eight: their mean is below 0.085 ppm.
      const wanted = `O3 ${concentration} ${index('O3 1h', concentration)}\n`;
      expect(await aqi('O3', [...hours(7, '0.010'), concentration])).toBe(wanted);
    }
    expect(await aqi('O3', hours(8, '0.450'))).toBe(`O3 0.450 ${index('O3 1h', '0.450')}\n`);
  });

  test('is right for sulfur dioxide concentrations of 24 hours, and 200 below them', async () => {
    for (const concentration of concentrations('SO2 24h')) {
      const wanted = `SO2 ${concentration} ${index('SO2 24h', concentration)}\n`;
      expect(await aqi('SO2', hours(24, concentration))).toBe(wanted);
    }
    expect(await aqi('SO2', [...hours(23, 100), 400])).toBe('SO2 400 200\n');
    expect(await aqi('SO2', [400])).toBe('SO2 400 200\n');
  });

  test('cuts off and does not round, also where floating point would fall short', async () => {
    expect(await aqi('PM2.5', hours(24, '9.09999'))).toBe('PM2.5 9.0 50\n');
    expect(await aqi('PM10', hours(24, '54.999999'))).toBe('PM10 54 50\n');
    expect(await aqi('O3', hours(8, '0.0549999'))).toBe('O3 0.054 50\n');
    // 0.1 + 0.2 … in binary: a sum of 24 times 35.5 must not become 35.4.
    expect(await aqi('PM2.5', [...hours(12, '35.4'), ...hours(12, '35.6')])).toBe('PM2.5 35.5 101\n');
    expect(await aqi('O3', [...hours(4, '0.069'), ...hours(4, '0.071')])).toBe('O3 0.070 100\n');
  });

  test('takes the mean of the hours that are there, and the worst eight hours of the day', async () => {
    expect(await aqi('PM10', [...hours(18, 100), ...hours(6, '-')])).toBe('PM10 100 73\n');
    const day = [...hours(10, '1.0'), ...hours(8, '12.0'), ...hours(6, '2.0')];
    expect(await aqi('CO', day)).toBe(`CO 12.0 ${index('CO', '12.0')}\n`);
    // Six of eight are enough; the seventh and eighth hour do not pull the mean down.
    expect(await aqi('CO', [...hours(6, '9.5'), '-', '-'])).toBe('CO 9.5 101\n');
  });

  test('goes on beyond the table along its last line', async () => {
    expect(await aqi('PM2.5', hours(24, '400'))).toBe(`PM2.5 400.0 ${index('PM2.5', '400.0')}\n`);
    expect(index('PM2.5', '400.0')).toBeGreaterThan(500);
  });

  test.each<[string, string, number]>([
    ['nothing', '', 1],
    ['an unknown pollutant', sensor('CO2', hours(24, 400)), 1],
    ['a word', sensor('NO2', ['much']), 2],
    ['a negative reading', sensor('NO2', [-1]), 2],
    ['an exponent', sensor('NO2', ['1e3']), 2],
    ['a number without a digit', sensor('NO2', ['.']), 2],
    ['a point without a decimal', sensor('NO2', ['1.']), 2],
    ['two points', sensor('NO2', ['1.2.3']), 2],
    ['a letter far behind the point', sensor('NO2', ['1.00000000x']), 2],
    ['too long a number', sensor('NO2', ['12345678']), 2],
    ['an empty line', sensor('NO2', ['1', '', '2']), 2],
    ['25 hours', sensor('NO2', hours(25, 1)), 3],
    ['no reading', sensor('NO2', []), 4],
    ['only missing readings', sensor('NO2', hours(24, '-')), 4],
    ['17 hours of a day', sensor('PM10', [...hours(17, 1), ...hours(7, '-')]), 4],
    ['5 hours of 8', sensor('CO', hours(5, 1)), 4],
    ['5 hours of 8, and ozone too low for one hour', sensor('O3', hours(5, '0.1')), 4],
  ])('refuses %s', async (_what, text, status) => {
    expect(await call('aqi', text)).toMatchObject({
      outcome: 'done',
      status,
      log: expect.stringMatching(/^[^\n]{10,200}\n$/),
    });
  });
});

describe('aqi-merge', () => {
  const merge = async (lines: readonly string[]): Promise<string> => answer(await call('aqi-merge', lines.join('\n')));

  test('takes what aqi gives, and the highest of each pollutant', async () => {
    const parts = [
      await aqi('O3', hours(8, '0.078')),
      await aqi('PM2.5', hours(24, '35.9')),
      await aqi('PM2.5', hours(24, '12.0')),
      await aqi('CO', hours(8, '8.4')),
    ];
    expect(answer(await call('aqi-merge', parts.join('')))).toBe(
      '126 O3 Unhealthy for Sensitive Groups\nO3 126\nPM2.5 102\nCO 90\n',
    );
  });

  test.each([
    [0, 'Good'],
    [50, 'Good'],
    [51, 'Moderate'],
    [100, 'Moderate'],
    [101, 'Unhealthy for Sensitive Groups'],
    [150, 'Unhealthy for Sensitive Groups'],
    [151, 'Unhealthy'],
    [200, 'Unhealthy'],
    [201, 'Very Unhealthy'],
    [300, 'Very Unhealthy'],
    [301, 'Hazardous'],
    [650, 'Hazardous'],
  ])('an index of %d is %s', async (value, name) => {
    expect(await merge([`NO2 1 ${value}`])).toBe(`${value} NO2 ${name}\nNO2 ${value}\n`);
  });

  test('is right for many sensors in any order, and for parts of them', async () => {
    const pollutants = ['PM2.5', 'PM10', 'O3', 'CO', 'SO2', 'NO2'];
    const all = Array.from({ length: 600 }, (_, i) => ({
      pollutant: pollutants[(i * 5) % 6]!,
      value: (i * 7919) % 503,
    }));
    const highest = new Map<string, number>();
    for (const { pollutant, value } of all) highest.set(pollutant, Math.max(value, highest.get(pollutant) ?? 0));
    const sorted = [...highest].sort(([, a], [, b]) => b - a);
    const merged = await merge(all.map(({ pollutant, value }) => `${pollutant} 1.5 ${value}`));
    expect(merged.split('\n').slice(1, -1)).toEqual(sorted.map(([pollutant, value]) => `${pollutant} ${value}`));
    const again = await merge(sorted.map(([pollutant, value]) => `${pollutant} 1.5 ${value}`));
    expect(again).toBe(merged);
  });

  test.each([
    ['nothing', '', 1],
    ['white space', ' \n\n', 1],
    ['two words', 'O3 126', 2],
    ['an unknown pollutant', 'CO2 1 2', 2],
    ['a negative index', 'O3 0.1 -1', 2],
    ['an index that is no whole number', 'O3 0.1 1.5', 2],
    ['no number', 'O3 x 1', 2],
    ['an index that is too long', 'O3 1 1234567890', 2],
    ['a bad line among good ones', 'O3 0.1 1\n\nO3 0.1 1', 2],
  ])('refuses %s', async (_what, text, status) => {
    expect(await call('aqi-merge', text)).toMatchObject({
      outcome: 'done',
      status,
      log: expect.stringMatching(/^[^\n]{10,200}\n$/),
    });
  });
});
