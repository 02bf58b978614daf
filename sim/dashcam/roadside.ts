import { mix } from './noise.ts';
import type { Colour, PlanarPicture } from './picture.ts';
import { clarity, columnOf, LANE_WIDTH_M, type Lens, type RoadView, rowOf } from './road.ts';

/** Something that stands or drives on the ground, drawn as it is seen from the front or behind. */
interface SceneObject {
  readonly kind: 'tree' | 'post' | 'ahead' | 'oncoming';
  readonly x: number;
  readonly z: number;
  /** Tells one object of a kind from the next. */
  readonly which: number;
}

const SEEN_FROM_M = 3.5;
const SEEN_TO_M = 260;
const POST_SPACING_M = 50;
const TREE_SPACING_M = 16;
const ONCOMING_SPACING_M = 190;
const ONCOMING_MPS = 22;

const TRUNK: Colour = { y: 60, cb: 120, cr: 134 };
const LEAVES: Colour = { y: 62, cb: 112, cr: 117 };
const POST: Colour = { y: 236, cb: 128, cr: 128 };
const BLACK: Colour = { y: 24, cb: 128, cr: 128 };
const GLASS: Colour = { y: 58, cb: 134, cr: 124 };
const HEADLIGHT: Colour = { y: 252, cb: 126, cr: 129 };
const TAIL_LIGHT: Colour = { y: 118, cb: 100, cr: 208 };
const BODIES: readonly Colour[] = [
  { y: 186, cb: 128, cr: 128 },
  { y: 78, cb: 100, cr: 190 },
  { y: 70, cb: 164, cr: 108 },
  { y: 48, cb: 128, cr: 128 },
];

/** Draws trees, posts and other cars over the road, the farthest first. */
export function paintRoadside(picture: PlanarPicture, lens: Lens, view: RoadView, seed: number): void {
  const objects = [...standing(view, seed), ...driving(view, seed)].sort((a, b) => b.z - a.z);
  for (const object of objects) paintObject(picture, lens, view, object);
}

function standing(view: RoadView, seed: number): SceneObject[] {
  const objects: SceneObject[] = [];
  const every = (spacing: number, add: (z: number, which: number) => void) => {
    const first = Math.ceil((view.distanceM + SEEN_FROM_M) / spacing);
    const last = Math.floor((view.distanceM + SEEN_TO_M) / spacing);
    for (let which = first; which <= last; which++) add(which * spacing - view.distanceM, which);
  };
  every(POST_SPACING_M, (z, which) => {
    objects.push({ kind: 'post', x: -6.9, z, which }, { kind: 'post', x: 3.4, z, which });
  });
  every(TREE_SPACING_M, (z, which) => {
    const chance = mix(seed, which);
    if (chance % 3 === 0) return;
    const away = 9 + ((chance >>> 4) % 140) / 10;
    objects.push({ kind: 'tree', x: (chance & 1) === 0 ? away : -away - LANE_WIDTH_M, z, which });
  });
  return objects;
}

function driving(view: RoadView, seed: number): SceneObject[] {
  const objects: SceneObject[] = [];
  const ahead = 42 + 14 * Math.sin(view.timeS * 0.13 + (mix(seed, 1) % 628) / 100);
  objects.push({ kind: 'ahead', x: 0.1, z: ahead, which: mix(seed, 2) });
  const travelled = view.distanceM + ONCOMING_MPS * view.timeS;
  const first = Math.ceil((travelled + SEEN_FROM_M) / ONCOMING_SPACING_M);
  const last = Math.floor((travelled + SEEN_TO_M) / ONCOMING_SPACING_M);
  for (let which = first; which <= last; which++) {
    objects.push({ kind: 'oncoming', x: -LANE_WIDTH_M, z: which * ONCOMING_SPACING_M - travelled, which });
  }
  return objects;
}

function paintObject(picture: PlanarPicture, lens: Lens, view: RoadView, object: SceneObject): void {
  const scale = lens.focal / object.z;
  const centre = columnOf(lens, view, object.x, object.z);
  const clear = clarity(object.z);
  /** A rectangle in metres: from the object's middle, and from the ground up. */
  const box = (left: number, right: number, bottom: number, top: number, colour: Colour, strength = 1) => {
    const [y0, y1] = [rowOf(lens, object.z, top), rowOf(lens, object.z, bottom)];
    picture.blend(centre + left * scale, y0, centre + right * scale, y1, colour, strength * clear);
  };
  switch (object.kind) {
    case 'post':
      box(-0.06, 0.06, 0, 1, POST);
      box(-0.06, 0.06, 0.65, 0.85, BLACK);
      return;
    case 'tree':
      paintTree(box, object.which);
      return;
    case 'ahead':
    case 'oncoming':
      paintCar(box, object);
  }
}

type PaintBox = (left: number, right: number, bottom: number, top: number, colour: Colour, strength?: number) => void;

function paintTree(box: PaintBox, which: number): void {
  const chance = mix(which, 77);
  const height = 5 + (chance % 50) / 10;
  box(-0.18, 0.18, 0, height * 0.3, TRUNK);
  const slices = 9;
  for (let slice = 0; slice < slices; slice++) {
    const bottom = height * (0.22 + (0.78 * slice) / slices);
    const half = 0.3 * height * (1 - slice / slices) * (0.85 + (mix(chance, slice) % 30) / 100);
    const shade = (mix(chance, slice + 100) % 24) - 8;
    box(-half, half, bottom, bottom + (0.78 * height) / slices, { ...LEAVES, y: LEAVES.y + shade });
  }
}

function paintCar(box: PaintBox, car: SceneObject): void {
  const body = BODIES[mix(car.which, 5) % BODIES.length]!;
  const light = car.kind === 'ahead' ? TAIL_LIGHT : HEADLIGHT;
  box(-1, 1, -0.1, 0.3, BLACK, 0.7);
  box(-0.9, 0.9, 0.25, 0.95, body);
  box(-0.72, 0.72, 0.95, 1.45, body);
  box(-0.62, 0.62, 0.97, 1.36, GLASS);
  box(-0.86, -0.56, 0.62, 0.82, light);
  box(0.56, 0.86, 0.62, 0.82, light);
  box(-0.85, -0.6, 0, 0.3, BLACK);
  box(0.6, 0.85, 0, 0.3, BLACK);
}
