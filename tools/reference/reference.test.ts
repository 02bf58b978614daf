import { describe, expect, it } from 'vitest';
import { obuRoutes } from '../../obu/api/routes.ts';
import { parseObuConfig } from '../../obu/config/config.ts';
import { EventLog } from '../../shared/api/event-log.ts';
import { configHelp } from './config-help.ts';
import { configJsonSchema } from './config-page.ts';
import { declarationsOf } from './declarations.ts';
import { routesOf } from './http-page.ts';
import { exportedNames } from './sdk-page.ts';

describe('declarationsOf', () => {
  it('takes each exported declaration with its comment, and nothing else', () => {
    const source = [
      'import x from "y";',
      '/** What a } is. */',
      "export interface A {\n  readonly b: { c: '}' };\n}",
      'const hidden = 1;',
      "export type B =\n  | 'x'\n  | 'y';",
      '/**\n * A function {\n */',
      'export declare function f(a: {\n    b: number;\n}): void;',
    ].join('\n');
    expect(declarationsOf(source)).toEqual([
      { name: 'A', text: "/** What a } is. */\nexport interface A {\n  readonly b: { c: '}' };\n}" },
      { name: 'B', text: "export type B =\n  | 'x'\n  | 'y';" },
      { name: 'f', text: '/**\n * A function {\n */\nexport declare function f(a: {\n    b: number;\n}): void;' },
    ]);
  });

  it('refuses one that does not end', () => {
    expect(() => declarationsOf('export interface A {\n  b: 1;')).toThrow('line 1');
  });
});

describe('routesOf', () => {
  it('finds the routes that an OBU serves', () => {
    const parts = () => {
      throw new Error('no route is asked');
    };
    const served = Object.keys(obuRoutes(parts, new EventLog()));
    expect(served.length).toBeGreaterThan(10);
    expect(routesOf('obu').toSorted()).toEqual(served.toSorted());
  });
});

describe('exportedNames', () => {
  it('reads lists of values and of types', () => {
    expect(exportedNames("export { a, type B } from './x.ts';\nexport type {\n  C,\n  D,\n} from './y.ts';")).toEqual([
      'a',
      'B',
      'C',
      'D',
    ]);
  });
});

describe('the help of obu.yaml', () => {
  it('stands in the schema', () => {
    expect(JSON.stringify(configJsonSchema())).toContain(configHelp.vehicle);
  });

  it('says the defaults that the parser has', () => {
    const text =
      'vehicle: a\nobu: b\nbuses: { can0: {} }\ncameras: { f: { source: "sim:/x", recording: { lock: { when: A == 1 } } } }';
    const { buses, cameras, runtime } = parseObuConfig(text, 'obu.yaml');
    const { codec, fps, keep, lock } = cameras[0]!.recording!;
    const [gib, mib, second] = [2 ** 30, 2 ** 20, 1000];
    const said: Record<string, string> = {
      'buses.NAME.bitrate': `${buses[0]?.bitrate}`,
      'cameras.NAME.recording.codec': `\`${codec}\` (if not given)`,
      'cameras.NAME.recording.fps': `${fps} if not given`,
      'cameras.NAME.recording.keep.size': `${keep.maxBytes / gib}g if`,
      'cameras.NAME.recording.keep.age': `${keep.maxAgeMs / 3600 / second}h if`,
      'cameras.NAME.recording.keep.locked': `${keep.maxLockedBytes / gib}g if`,
      'cameras.NAME.recording.lock.before': `${lock!.beforeMs / second}s if`,
      'cameras.NAME.recording.lock.after': `${lock!.afterMs / second}s if`,
      'reserve.cpus': `${runtime.reserve.cpus} if`,
      'undeclared.memory': `${runtime.undeclared.memory / mib}m if`,
      'undeclared.cpus': `${runtime.undeclared.cpus} if`,
      'pressure.memory': `${runtime.pressure.memory} if`,
      'pressure.cpu': `${runtime.pressure.cpu} if`,
      'data.limit': `${runtime.data.limit / gib}g if`,
      'data.keepFree': `${runtime.data.keepFree / mib}m if`,
      onStop: `\`${runtime.onStop}\` (if not given)`,
    };
    for (const [key, words] of Object.entries(said)) expect(configHelp[key], key).toContain(words);
  });
});
