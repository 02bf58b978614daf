import { describe, expect, it } from 'vitest';
import { Car, type CarState, STEP } from './car.ts';
import {
  FULL_BRAKING,
  gearRatio,
  lateralAcceleration,
  MAX_WHEEL_ANGLE,
  PARKED_VEHICLE,
  speedInGear,
  stepVehicle,
  WHEELBASE,
} from './vehicle.ts';

/** Ten minutes of a drive, state by state. */
function drive(seed: number, seconds = 600): CarState[] {
  const car = new Car(seed);
  const states: CarState[] = [car.state];
  for (let i = 0; i < seconds / STEP; i++) {
    car.step();
    states.push(car.state);
  }
  return states;
}

/** The first step that is wrong, if any. */
function firstStep(
  states: readonly CarState[],
  wrong: (before: CarState, after: CarState) => boolean,
): CarState | undefined {
  for (let i = 1; i < states.length; i++) if (wrong(states[i - 1]!, states[i]!)) return states[i];
  return undefined;
}

const seeds = [1, 2, 3];
const drives = seeds.map((seed) => drive(seed));

describe.each(seeds.map((seed, i) => [seed, drives[i]!] as const))('the drive with seed %i', (_, states) => {
  it('goes somewhere: accelerates, brakes, turns both ways, stands, parks', () => {
    const last = states.at(-1)!;
    expect(last.distance).toBeGreaterThan(3000);
    expect(Math.max(...states.map(({ acceleration }) => acceleration))).toBeGreaterThan(1);
    expect(Math.min(...states.map(({ acceleration }) => acceleration))).toBeLessThan(-1.5);
    expect(Math.max(...states.map(({ wheelAngle }) => wheelAngle))).toBeGreaterThan(0.1);
    expect(Math.min(...states.map(({ wheelAngle }) => wheelAngle))).toBeLessThan(-0.1);
    expect(states.some(({ speed, parked }) => speed === 0 && !parked)).toBe(true);
    expect(states.some(({ doors }) => doors[0])).toBe(true);
  });

  it('has driven as far as its speed says, and its position as far as it has driven', () => {
    let integral = 0;
    let path = 0;
    for (let i = 1; i < states.length; i++) {
      const [before, after] = [states[i - 1]!, states[i]!];
      integral += ((before.speed + after.speed) / 2) * STEP;
      path += Math.hypot(after.east - before.east, after.north - before.north);
    }
    const { distance } = states.at(-1)!;
    expect(distance).toBeCloseTo(integral, 6);
    expect(Math.abs(path - distance) / distance).toBeLessThan(1e-4);
  });

  it('moves in the direction in which it points', () => {
    const wrong = firstStep(states, (before, after) => {
      const moved = Math.atan2(after.north - before.north, after.east - before.east);
      const off = Math.abs(Math.atan2(Math.sin(moved - after.heading), Math.cos(moved - after.heading)));
      return after.speed >= 1 && off > 0.01;
    });
    expect(wrong).toBeUndefined();
  });

  it('turns as its wheels and its speed say', () => {
    const wrong = firstStep(states, (before, after) => {
      const wanted = (after.speed * Math.tan(after.wheelAngle)) / WHEELBASE;
      const turned = after.heading - before.heading;
      return Math.abs(turned - after.yawRate * STEP) > 1e-9 || Math.abs(after.yawRate - wanted) > 0.02;
    });
    expect(wrong).toBeUndefined();
  });

  it('changes speed by its acceleration', () => {
    const wrong = firstStep(
      states,
      (before, after) => Math.abs(after.speed - before.speed - after.acceleration * STEP) > 1e-9,
    );
    expect(wrong).toBeUndefined();
  });

  it('stays within what tyres and passengers bear', () => {
    const wrong = states.find(
      (state) =>
        state.speed < 0 ||
        state.speed * 3.6 > 120 ||
        Math.abs(lateralAcceleration(state)) > 3.5 ||
        state.acceleration < -4 ||
        Math.abs(state.wheelAngle) > MAX_WHEEL_ANGLE,
    );
    expect(wrong).toBeUndefined();
  });

  it('brakes when it decelerates strongly, and never brakes and accelerates at once', () => {
    const wrong = states.find(
      ({ acceleration, speed, brakePedal, acceleratorPedal }) =>
        (acceleration < -1.5 && speed > 0 && brakePedal === 0) ||
        (acceleration > 0.3 && acceleratorPedal === 0) ||
        Math.min(brakePedal, acceleratorPedal) !== 0 ||
        Math.max(brakePedal, acceleratorPedal) > 1,
    );
    expect(wrong).toBeUndefined();
  });

  it('has an engine that turns with the wheels in its gear, at idle speed at least, and not when parked', () => {
    const wrong = states.find(({ parked, gear, engineSpeed, speed }) => {
      if (parked) return gear !== 0 || engineSpeed !== 0 || speed !== 0;
      if (gear < 1 || gear > 6 || engineSpeed < 850 || engineSpeed > 5000) return true;
      if (engineSpeed === 850) return speedInGear(850, gear) < speed;
      return Math.abs(speedInGear(engineSpeed, gear) - speed) > 1e-9;
    });
    expect(wrong).toBeUndefined();
  });

  it('keeps its doors closed unless parked', () => {
    const wrong = states.find(({ doors, parked, speed }) => doors.includes(true) && (!parked || speed > 0));
    expect(wrong).toBeUndefined();
  });

  it('indicates before it turns sharply, to the side to which it turns', () => {
    let since = 0;
    const wrong = states.find(({ indicator, wheelAngle }) => {
      since = indicator === 'off' ? 0 : since + STEP;
      // Bends of the road have radii from 60 m on: only turns at crossings are sharper.
      if (Math.abs(wheelAngle) < 0.06) return false;
      return indicator !== (wheelAngle > 0 ? 'left' : 'right') || since < 2;
    });
    expect(wrong).toBeUndefined();
    expect(states.some(({ wheelAngle }) => Math.abs(wheelAngle) > 0.06)).toBe(true);
  });

  it('uses up its battery on the way, and gets something back when it brakes', () => {
    expect(states.at(-1)!.energy).toBeLessThan(states[0]!.energy);
    let energy = states[0]!.energy;
    for (const state of states.slice(1)) energy += state.batteryPower * STEP;
    expect(states.at(-1)!.energy / energy).toBeCloseTo(1, 6);
    expect(states.some(({ batteryPower }) => batteryPower > 1000)).toBe(true);
  });
});

describe('the car', () => {
  it('makes the same drive with the same seed, and another one with another', () => {
    expect(drive(1, 60).at(-1)).toEqual(drives[0]![6000]);
    expect(drive(2, 60).at(-1)).not.toEqual(drives[0]![6000]);
  });

  it('does not do what it can not: no acceleration beyond its engine, no speed below zero', () => {
    let state = PARKED_VEHICLE;
    for (let i = 0; i < 6000; i++) state = stepVehicle(state, { acceleration: 99, wheelAngle: 9, parked: false }, STEP);
    // 80 kW against the air drag: 0.5 * 1.2 * 0.3 * 2.2 * v^3 and 146 N of rolling resistance give about 55 m/s.
    expect(state.speed).toBeGreaterThan(40);
    expect(state.speed).toBeLessThan(58);
    expect(state.wheelAngle).toBeCloseTo(MAX_WHEEL_ANGLE, 9);
    for (let i = 0; i < 1000; i++) {
      state = stepVehicle(state, { acceleration: -99, wheelAngle: 0, parked: true }, STEP);
      expect(state.acceleration).toBeGreaterThanOrEqual(-FULL_BRAKING - 1e-9);
    }
    expect(state).toMatchObject({ speed: 0, parked: true, engineSpeed: 0 });
  });

  it('has shorter gears first', () => {
    for (let gear = 2; gear <= 6; gear++) expect(gearRatio(gear)).toBeLessThan(gearRatio(gear - 1));
  });
});
