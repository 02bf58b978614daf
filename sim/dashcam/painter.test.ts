import { describe, expect, it } from 'vitest';
import { RoadPainter } from './painter.ts';
import type { PlanarPicture } from './picture.ts';
import { advance, columnOf, LINES, type RoadView, rowOf, START_VIEW } from './road.ts';

const WIDTH = 640;
const HEIGHT = 480;
const painter = new RoadPainter(WIDTH, HEIGHT, 1);

/** Middle of the bright pixels of one row, between two columns; undefined when there are none. */
function brightMiddle(picture: PlanarPicture, row: number, from = 0, to = WIDTH): number | undefined {
  let [sum, count] = [0, 0];
  for (let x = Math.max(0, from); x < Math.min(WIDTH, to); x++) {
    if (picture.y[row * WIDTH + x]! < 160) continue;
    sum += x + 0.5;
    count += 1;
  }
  return count === 0 ? undefined : sum / count;
}

/** Rows of the dashed line that are painted, nearest first, as seen in the picture. */
function dashRows(picture: PlanarPicture, view: RoadView): boolean[] {
  const rows = [];
  for (let z = 5; z < 25; z += 0.25) {
    const row = Math.floor(rowOf(painter.lens, z));
    const column = columnOf(painter.lens, view, LINES.middle.x, z);
    rows.push(brightMiddle(picture, row, Math.round(column - 8), Math.round(column + 8)) !== undefined);
  }
  return rows;
}

/** Row where the right line is 25 m away. */
const FAR_ROW = Math.floor(rowOf(painter.lens, 25));
const at = (curvature: number, more: Partial<RoadView> = {}): RoadView => ({ ...START_VIEW, curvature, ...more });

function rightLineColumn(view: RoadView): number {
  const expected = columnOf(painter.lens, view, LINES.right.x, 25);
  const middle = brightMiddle(painter.paint(view), FAR_ROW, Math.round(expected - 25), Math.round(expected + 25));
  expect(middle).toBeDefined();
  return middle!;
}

describe('RoadPainter', () => {
  it('draws the same bytes for the same view and seed, and others for another seed or picture', () => {
    const view = at(0.001, { distanceM: 123, timeS: 4 });
    const first = painter.paint(view).data;
    expect(new RoadPainter(WIDTH, HEIGHT, 1).paint(view).data.equals(first)).toBe(true);
    expect(new RoadPainter(WIDTH, HEIGHT, 2).paint(view).data.equals(first)).toBe(false);
    expect(painter.paint({ ...view, picture: 1 }).data.equals(first)).toBe(false);
  });

  it('fills every plane, at odd sizes too', () => {
    for (const [width, height] of [
      [641, 361],
      [64, 48],
    ] as const) {
      const odd = new RoadPainter(width, height, 3);
      const picture = odd.paint(START_VIEW);
      expect(picture.data).toHaveLength(width * height + 2 * Math.ceil(width / 2) * Math.ceil(height / 2));
      // The first and the last of each plane are drawn, not left over from what the memory held before.
      const again = odd.paint(START_VIEW);
      expect(again.data.equals(picture.data)).toBe(true);
      expect(Math.max(...picture.y.subarray(-width))).toBeLessThan(255);
      expect(Math.min(...picture.y.subarray(-width))).toBeGreaterThan(20);
      for (const plane of [picture.cb, picture.cr]) {
        expect(Math.min(...plane)).toBeGreaterThan(60);
        expect(Math.max(...plane)).toBeLessThan(220);
      }
    }
  });

  it('draws the right line where the geometry says', () => {
    for (const curvature of [0, 0.002, -0.002]) {
      const view = at(curvature);
      expect(rightLineColumn(view)).toBeCloseTo(columnOf(painter.lens, view, LINES.right.x, 25), -0.5);
    }
  });

  it('bends the lines to the left for a bend to the left, the more the sharper', () => {
    const columns = [0.004, 0.002, 0, -0.002, -0.004].map((curvature) => rightLineColumn(at(curvature)));
    for (let n = 1; n < columns.length; n++) expect(columns[n]!).toBeGreaterThan(columns[n - 1]! + 5);
  });

  it('moves the dashes towards the car as it drives, and back to the same place after one period', () => {
    const seen = (distanceM: number) => dashRows(painter.paint(at(0, { distanceM })), at(0));
    const still = seen(0);
    expect(still).toContain(true);
    expect(still).toContain(false);
    // A step that is half paint may come out either way with other grain: at most one for each end of two dashes.
    const differing = (shifted: boolean[], by: number) =>
      shifted.slice(0, still.length - by).filter((painted, n) => painted !== still[n + by]).length;
    expect(differing(seen(12), 0)).toBeLessThanOrEqual(4);
    // One metre further every dash is one metre nearer: four steps of 0.25 m in the list.
    expect(differing(seen(1), 4)).toBeLessThanOrEqual(4);
    expect(differing(seen(1), 0)).toBeGreaterThan(8);
  });

  it('keeps everything in place while the car stands, but for noise and traffic', () => {
    const first = painter.paint(START_VIEW);
    const second = painter.paint(advance(START_VIEW, { speedMps: 0, steeringDeg: 0 }, 0.05));
    let differing = 0;
    // The lower half holds no other car.
    for (let n = WIDTH * 300; n < WIDTH * HEIGHT; n++) if (Math.abs(first.y[n]! - second.y[n]!) > 20) differing += 1;
    expect(differing).toBeLessThan(WIDTH);
  });

  it('gives its lines edges that stand out of the texture', () => {
    const { y } = painter.paint(START_VIEW);
    const row = Math.floor(rowOf(painter.lens, 6));
    const line = Math.round(columnOf(painter.lens, START_VIEW, LINES.right.x, 6));
    const sobel = (x: number) => {
      const step = (r: number) => y[(row + r) * WIDTH + x + 1]! - y[(row + r) * WIDTH + x - 1]!;
      return Math.abs(step(-1) + 2 * step(0) + step(1));
    };
    const strongest = (from: number, to: number) =>
      Math.max(...Array.from({ length: to - from }, (_, n) => sobel(from + n)));
    expect(strongest(line - 15, line + 15)).toBeGreaterThan(2 * strongest(line - 150, line - 30));
  });
});
