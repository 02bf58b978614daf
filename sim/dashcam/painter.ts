import { mix, noiseTable, xorshift32 } from './noise.ts';
import { type Colour, PlanarPicture } from './picture.ts';
import {
  ASPHALT,
  bend,
  clarity,
  dashCover,
  depthOf,
  type Lens,
  LINES,
  lensOf,
  type RoadView,
  SHOULDER,
} from './road.ts';
import { paintRoadside } from './roadside.ts';

const ASPHALT_COLOUR: Colour = { y: 92, cb: 129, cr: 127 };
const GRAVEL: Colour = { y: 128, cb: 122, cr: 132 };
const GRASS: Colour = { y: 102, cb: 106, cr: 118 };
const HILLS: Colour = { y: 118, cb: 124, cr: 120 };
const HAZE: Colour = { y: 196, cb: 134, cr: 124 };
const SKY_TOP: Colour = { y: 158, cb: 152, cr: 110 };
const PAINT_LUMA = 232;

/** Cells of the road's texture per metre, across and along. */
const GRAIN_ACROSS = 36;
const GRAIN_ALONG = 14;
const GRAIN_SIDE = 256;
const SENSOR_SIZE = 1 << 16;
const HILLS_SIZE = 2048;

/**
 * Draws the road. Equal view and equal seed give an equal picture, byte for byte. Hot path: one pass over the pixels
 * with table look-ups, nothing allocated but the picture.
 */
export class RoadPainter {
  readonly lens: Lens;
  readonly #seed: number;
  /** Grain of asphalt and grass, fixed to the ground: it moves with the speed. */
  readonly #grain: Int8Array;
  /** What the camera's sensor adds; new for each picture. */
  readonly #sensor: Int8Array;
  /** Height of the hills over the horizon, pixels, by direction. */
  readonly #hills: Float32Array;

  constructor(width: number, height: number, seed: number) {
    this.lens = lensOf(width, height);
    this.#seed = seed;
    const random = xorshift32(seed);
    this.#grain = noiseTable(GRAIN_SIDE * GRAIN_SIDE, 9, random);
    this.#sensor = noiseTable(SENSOR_SIZE, 2.5, random);
    this.#hills = hillsOf(height, random);
  }

  paint(view: RoadView): PlanarPicture {
    const picture = new PlanarPicture(this.lens.width, this.lens.height);
    const firstRoadRow = Math.floor(this.lens.horizon) + 1;
    this.#paintSky(picture, view, firstRoadRow);
    for (let row = firstRoadRow; row < picture.height; row++) this.#paintGround(picture, view, row);
    paintRoadside(picture, this.lens, view, this.#seed);
    this.#addSensorNoise(picture, view.picture);
    return picture;
  }

  #paintSky(picture: PlanarPicture, view: RoadView, rows: number): void {
    for (let row = 0; row < rows; row++) {
      const colour = between(SKY_TOP, HAZE, row / rows);
      picture.y.fill(colour.y, row * picture.width, (row + 1) * picture.width);
      if ((row & 1) === 0) fillChroma(picture, row >> 1, 0, picture.width, colour);
    }
    // A turn to the left moves what is far away to the right.
    const turned = Math.round(view.headingRad * this.lens.focal);
    const hills = between(HILLS, HAZE, 0.45);
    for (let x = 0; x < picture.width; x++) {
      const top = rows - this.#hills[(x - turned) & (HILLS_SIZE - 1)]!;
      for (let row = Math.max(0, Math.round(top)); row < rows; row++) {
        picture.y[row * picture.width + x] = hills.y;
        if (((row | x) & 1) === 0) {
          const at = (row >> 1) * picture.chromaWidth + (x >> 1);
          picture.cb[at] = hills.cb;
          picture.cr[at] = hills.cr;
        }
      }
    }
  }

  #paintGround(picture: PlanarPicture, view: RoadView, row: number): void {
    const z = depthOf(this.lens, row + 0.5);
    const pixelsPerMetre = this.lens.focal / z;
    const middle = this.lens.centre + bend(view.curvature, z) * pixelsPerMetre;
    const clear = clarity(z);
    const column = (x: number) => Math.max(0, Math.min(picture.width, Math.round(middle + x * pixelsPerMetre)));
    const edges = [0, column(SHOULDER.left), column(ASPHALT.left), column(ASPHALT.right), column(SHOULDER.right)];
    edges.push(picture.width);
    const along = Math.floor((z + view.distanceM) * GRAIN_ALONG) & (GRAIN_SIDE - 1);
    const grain = this.#grain.subarray(along * GRAIN_SIDE, (along + 1) * GRAIN_SIDE);
    // Far away many grains fall into one pixel and average out.
    const grainScale = Math.min(1, 9 / z);
    const step = GRAIN_ACROSS / pixelsPerMetre;
    GROUND.forEach((colour, span) => {
      const [from, to] = [edges[span]!, edges[span + 1]!];
      if (from >= to) return;
      const seen = between(HAZE, colour, clear);
      const rough = colour === ASPHALT_COLOUR ? grainScale : grainScale * 1.8;
      let across = (from - middle) * step + 4096 * GRAIN_SIDE;
      for (let at = row * picture.width + from; at < row * picture.width + to; at++) {
        picture.y[at] = seen.y + rough * grain[across & (GRAIN_SIDE - 1)]!;
        across += step;
      }
      if ((row & 1) === 0) fillChroma(picture, row >> 1, from, to, seen);
    });
    this.#paintLines(picture, view, row, middle, pixelsPerMetre, clear);
  }

  #paintLines(picture: PlanarPicture, view: RoadView, row: number, middle: number, scale: number, clear: number): void {
    const [far, near] = [depthOf(this.lens, row + 0.05), depthOf(this.lens, row + 1)];
    const dash = dashCover(near + view.distanceM, Math.min(far, 2000) + view.distanceM);
    const luma = HAZE.y + (PAINT_LUMA - HAZE.y) * clear;
    for (const line of [LINES.left, LINES.middle, LINES.right]) {
      const strength = line === LINES.middle ? dash : 1;
      const centre = middle + line.x * scale;
      const half = line.halfWidth * scale;
      const first = Math.max(0, Math.floor(centre - half - 1));
      const last = Math.min(picture.width - 1, Math.ceil(centre + half + 1));
      for (let x = first; x <= last; x++) {
        // How much of this pixel the paint covers.
        const cover = Math.min(centre + half, x + 1) - Math.max(centre - half, x);
        if (cover <= 0) continue;
        const at = row * picture.width + x;
        picture.y[at] = picture.y[at]! + (luma - picture.y[at]!) * cover * strength;
      }
    }
  }

  #addSensorNoise(picture: PlanarPicture, number: number): void {
    const { y, width } = picture;
    for (let row = 0; row < picture.height; row++) {
      let noise = mix(this.#seed, mix(number, row));
      for (let at = row * width; at < (row + 1) * width; at++) {
        const value = y[at]! + this.#sensor[noise++ & (SENSOR_SIZE - 1)]!;
        y[at] = Math.max(0, Math.min(255, value));
      }
    }
  }
}

const GROUND = [GRASS, GRAVEL, ASPHALT_COLOUR, GRAVEL, GRASS] as const;

function between(from: Colour, to: Colour, share: number): Colour {
  const one = (a: number, b: number) => a + (b - a) * share;
  return { y: one(from.y, to.y), cb: one(from.cb, to.cb), cr: one(from.cr, to.cr) };
}

function fillChroma(picture: PlanarPicture, chromaRow: number, from: number, to: number, colour: Colour): void {
  const row = chromaRow * picture.chromaWidth;
  picture.cb.fill(colour.cb, row + (from >> 1), row + ((to + 1) >> 1));
  picture.cr.fill(colour.cr, row + (from >> 1), row + ((to + 1) >> 1));
}

function hillsOf(height: number, random: () => number): Float32Array {
  const hills = new Float32Array(HILLS_SIZE);
  const waves = [2, 5, 9, 17, 31].map((turns) => ({
    turns,
    phase: random() * 2 * Math.PI,
    size: 1 / Math.sqrt(turns),
  }));
  for (let at = 0; at < HILLS_SIZE; at++) {
    const angle = (at / HILLS_SIZE) * 2 * Math.PI;
    const sum = waves.reduce((total, wave) => total + wave.size * Math.sin(wave.turns * angle + wave.phase), 0);
    hills[at] = Math.max(0, height * (0.035 + 0.025 * sum));
  }
  return hills;
}
