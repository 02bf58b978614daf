import { describe, expect, it } from 'vitest';
import { advance, dashCover, START_VIEW } from './road.ts';

describe('advance', () => {
  it('adds up distance and time', () => {
    const view = advance(
      advance(START_VIEW, { speedMps: 10, steeringDeg: 0 }, 0.5),
      { speedMps: 20, steeringDeg: 0 },
      1,
    );
    expect(view).toEqual({ picture: 2, timeS: 1.5, distanceM: 25, headingRad: 0, curvature: 0 });
  });

  it('turns to the left for a steering wheel that is turned to the left', () => {
    const left = advance(START_VIEW, { speedMps: 10, steeringDeg: 30 }, 1);
    expect(left.curvature).toBeGreaterThan(0);
    expect(left.headingRad).toBeCloseTo(10 * left.curvature);
    const right = advance(START_VIEW, { speedMps: 10, steeringDeg: -30 }, 1);
    expect(right.curvature).toBe(-left.curvature);
  });

  it('draws no bend that is sharper than it can be seen', () => {
    expect(advance(START_VIEW, { speedMps: 1, steeringDeg: 540 }, 1).curvature).toBe(0.02);
  });

  it('drives backwards too', () => {
    expect(advance(START_VIEW, { speedMps: -2, steeringDeg: 0 }, 1).distanceM).toBe(-2);
  });
});

describe('dashCover', () => {
  it.each([
    [0, 4, 1],
    [4, 12, 0],
    [0, 12, 1 / 3],
    [3, 5, 0.5],
    [-12, 0, 1 / 3],
    [-10, -9, 1],
    [-5, -4, 0],
  ])('is right from %d m to %d m', (from, to, cover) => {
    expect(dashCover(from, to)).toBeCloseTo(cover);
  });
});
