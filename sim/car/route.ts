import type { Random } from '../../shared/base/random.ts';

/** One piece of a drive; lengths in metres, speeds in m/s, angles in radians, left positive. */
export type Segment =
  | { readonly kind: 'straight'; readonly length: number; readonly speed: number }
  | { readonly kind: 'bend'; readonly angle: number; readonly radius: number; readonly speed: number }
  | { readonly kind: 'turn'; readonly angle: number; readonly radius: number; readonly speed: number }
  | { readonly kind: 'stop'; readonly seconds: number }
  | { readonly kind: 'parking'; readonly seconds: number };

/** Comfortable sideways acceleration, m/s². */
const SIDEWAYS = 2;

function bend(random: Random, speed: number): Segment {
  const side = random() < 0.5 ? 1 : -1;
  const radius = 60 + 200 * random();
  return {
    kind: 'bend',
    angle: side * (0.25 + 0.6 * random()),
    radius,
    speed: Math.min(speed, Math.sqrt(SIDEWAYS * radius)),
  };
}

function turn(random: Random): Segment {
  const side = random() < 0.5 ? 1 : -1;
  // To the right is tighter where traffic drives on the right.
  const radius = side > 0 ? 13 : 9;
  return { kind: 'turn', angle: (side * Math.PI) / 2, radius, speed: Math.sqrt(SIDEWAYS * radius) };
}

/**
 * A drive without end through town and country: straights with bends between them, turns at crossings, red lights, and
 * now and then somebody gets out. The same seed gives the same drive. Begins standing and parked.
 */
export function* endlessRoute(random: Random): Generator<Segment, never> {
  yield { kind: 'parking', seconds: 2 };
  for (;;) {
    const country = random() < 0.3;
    const speed = (country ? 70 + 25 * random() : 30 + 20 * random()) / 3.6;
    const pieces = 1 + Math.floor(3 * random());
    for (let i = 0; i < pieces; i++) {
      yield { kind: 'straight', length: (country ? 150 : 50) + 100 * random(), speed };
      yield bend(random, speed);
    }
    yield { kind: 'straight', length: 70 + 60 * random(), speed };
    const end = random();
    if (end < 0.6) yield turn(random);
    else if (end < 0.85) yield { kind: 'stop', seconds: 3 + 6 * random() };
    else yield { kind: 'parking', seconds: 8 + 6 * random() };
  }
}
