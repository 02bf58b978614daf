import { afterEach, expect, it, vi } from 'vitest';
import { parseManifest } from '../../obu/manifest/manifest.ts';
import { ErrorCode, KerbError } from '../../shared/base/errors.ts';
import { withAllProblems } from './problems.ts';

afterEach(() => vi.restoreAllMocks());

/** What goes to standard error while an error is made ready, and the error that is thrown on. */
function told(text: string): { lines: string[]; thrown: unknown } {
  let printed = '';
  vi.spyOn(process.stderr, 'write').mockImplementation((chunk) => {
    printed += String(chunk);
    return true;
  });
  try {
    parseManifest(text, 'car.yaml');
  } catch (error) {
    const thrown = withAllProblems(error);
    return { lines: printed.split('\n').filter((line) => line !== ''), thrown };
  }
  throw new Error('the manifest was taken');
}

it('each of several problems is printed once, and then how many there are', () => {
  const { lines, thrown } = told(
    'services:\n  a:\n    image: bb:1\n    privilged: true\n    evironment: {}\n    imge: x\n',
  );
  expect(lines.map((line) => line.split(': ').slice(0, 3).join(': '))).toEqual([
    'kerb: car.yaml:4: services.a.privilged',
    'kerb: car.yaml:5: services.a.evironment',
    'kerb: car.yaml:6: services.a.imge',
  ]);
  expect(thrown).toMatchObject({
    code: ErrorCode.BadManifest,
    message: expect.stringMatching(/^car\.yaml has 3 problems/),
  });
});

it('one problem is the error itself, and every other error stays what it is', () => {
  const { lines, thrown } = told('services:\n  a: { image: x, imge: y }\n');
  expect(lines).toEqual([]);
  expect(thrown).toMatchObject({ message: expect.stringMatching(/^car\.yaml:2: services\.a\.imge/) });
  const other = new KerbError(ErrorCode.ApiUnavailable, 'no OBU');
  expect(withAllProblems(other)).toBe(other);
});
