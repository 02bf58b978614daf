/**
 * The road and the camera, as geometry. Metres; X to the right of the middle of our lane, Z ahead along the road.
 * Traffic drives on the right: our lane has the dashed middle line on its left and a solid edge line on its right, and
 * beyond the middle line is the lane of the oncoming traffic.
 */

/** How the car moves, as its bus says. */
export interface Motion {
  /** Metres per second; negative in reverse. */
  readonly speedMps: number;
  /** Angle of the steering wheel in degrees, positive to the left (ISO 8855). */
  readonly steeringDeg: number;
}

/** All that a picture of the road depends on, besides the seed. */
export interface RoadView {
  /** Number of the picture; only the sensor noise depends on it. */
  readonly picture: number;
  readonly timeS: number;
  /** Driven since the start. */
  readonly distanceM: number;
  /** Turned since the start, radians, positive to the left. */
  readonly headingRad: number;
  /** Of the road ahead, 1/m, positive to the left. */
  readonly curvature: number;
}

export const START_VIEW: RoadView = { picture: 0, timeS: 0, distanceM: 0, headingRad: 0, curvature: 0 };

const WHEELBASE_M = 2.7;
/** Turns of the steering wheel per turn of the front wheels. */
const STEERING_RATIO = 15;
/** The sharpest bend that is drawn, 1/m: in a tighter one the road would leave the picture at once. */
const MAX_CURVATURE = 0.02;

export const LANE_WIDTH_M = 3.5;
export const LINES = {
  left: { x: -1.5 * LANE_WIDTH_M, halfWidth: 0.075 },
  middle: { x: -0.5 * LANE_WIDTH_M, halfWidth: 0.075 },
  right: { x: 0.5 * LANE_WIDTH_M, halfWidth: 0.075 },
} as const;
/** Where the asphalt ends, left and right. */
export const ASPHALT = { left: -5.7, right: 2.2 } as const;
/** Where the gravel beside it ends. */
export const SHOULDER = { left: -6.4, right: 2.9 } as const;
/** The dashed line: 4 m of paint, then 8 m without. */
export const DASH = { painted: 4, period: 12 } as const;

/** The view after `dtS` more seconds of this motion. */
export function advance(view: RoadView, motion: Motion, dtS: number): RoadView {
  const wheels = (motion.steeringDeg / STEERING_RATIO) * (Math.PI / 180);
  const curvature = Math.max(-MAX_CURVATURE, Math.min(MAX_CURVATURE, Math.tan(wheels) / WHEELBASE_M));
  const driven = motion.speedMps * dtS;
  return {
    picture: view.picture + 1,
    timeS: view.timeS + dtS,
    distanceM: view.distanceM + driven,
    headingRad: view.headingRad + driven * curvature,
    curvature,
  };
}

/** A pinhole camera behind the windscreen that looks along the road. */
export interface Lens {
  readonly width: number;
  readonly height: number;
  /** Focal length in pixels. */
  readonly focal: number;
  readonly centre: number;
  /** Row of the horizon. */
  readonly horizon: number;
  readonly cameraHeight: number;
}

export function lensOf(width: number, height: number): Lens {
  // 58 degrees across, as dashcams have it when they are not fish-eyed.
  return { width, height, focal: 0.9 * width, centre: width / 2, horizon: 0.42 * height, cameraHeight: 1.25 };
}

/** How far the road's middle has moved to the right at distance z. */
export function bend(curvature: number, z: number): number {
  return (-curvature * z * z) / 2;
}

/** Column of a point on the road. */
export function columnOf(lens: Lens, view: RoadView, x: number, z: number): number {
  return lens.centre + ((x + bend(view.curvature, z)) * lens.focal) / z;
}

/** Row of a point at `up` metres above the road. */
export function rowOf(lens: Lens, z: number, up = 0): number {
  return lens.horizon + ((lens.cameraHeight - up) * lens.focal) / z;
}

/** Distance of the road at a row below the horizon. */
export function depthOf(lens: Lens, row: number): number {
  return (lens.cameraHeight * lens.focal) / (row - lens.horizon);
}

/** Metres after which haze hides about two thirds of what is there. */
const VISIBILITY_M = 220;

/** How much of a thing at this distance the haze lets through, 0..1. */
export function clarity(z: number): number {
  return Math.exp(-z / VISIBILITY_M);
}

/** Share of the dashed line between two distances from its start that is painted, 0..1. */
export function dashCover(from: number, to: number): number {
  const painted = (s: number) => {
    const periods = Math.floor(s / DASH.period);
    return periods * DASH.painted + Math.min(s - periods * DASH.period, DASH.painted);
  };
  return (painted(to) - painted(from)) / (to - from);
}
