/**
 * The car as a machine: a single-track (bicycle) model without slip, a hybrid drivetrain with six gears, a battery. Pure:
 * `stepVehicle` makes the next state from the last one, a command of the driver and a time, and from nothing else.
 *
 * SI units and radians throughout; angles, yaw rate, curvature and lateral acceleration positive to the left (ISO 8855).
 */

export interface VehicleCommand {
  /** Wished acceleration along the car, m/s²; what the engine can't give is not given. */
  readonly acceleration: number;
  /** Wished angle of the front wheels. */
  readonly wheelAngle: number;
  /** Standing with the gearbox in P, parking brake on, engine off. */
  readonly parked: boolean;
}

export interface VehicleState {
  /** Since the start, seconds. */
  readonly time: number;
  readonly speed: number;
  readonly acceleration: number;
  /** Of the front wheels. */
  readonly wheelAngle: number;
  /** Of the front wheels, rad/s. */
  readonly wheelAngleRate: number;
  readonly yawRate: number;
  /** From east over north, not wrapped. */
  readonly heading: number;
  /** Metres from where the trip began. */
  readonly east: number;
  readonly north: number;
  /** Driven since the start. */
  readonly distance: number;
  readonly parked: boolean;
  /** 0 when standing still without a gear, else 1..6. */
  readonly gear: number;
  /** Per minute. */
  readonly engineSpeed: number;
  /** Nm at the crankshaft; negative when the engine brakes. */
  readonly engineTorque: number;
  /** 0..1 */
  readonly acceleratorPedal: number;
  /** 0..1 */
  readonly brakePedal: number;
  /** Energy in the traction battery, J. */
  readonly energy: number;
  /** Power into the battery, W; negative while it gives. */
  readonly batteryPower: number;
  /** °C */
  readonly coolantTemperature: number;
  /** °C */
  readonly tyreTemperature: number;
}

export const WHEELBASE = 2.7;
/** Turns of the steering wheel per turn of the front wheels. */
export const STEERING_RATIO = 15;
export const TRACK_WIDTH = 1.5;
export const MAX_WHEEL_ANGLE = (33 * Math.PI) / 180;
const MAX_WHEEL_ANGLE_RATE = (25 * Math.PI) / 180;

const MASS = 1350;
const GRAVITY = 9.81;
const TYRE_RADIUS = 0.3;
const ROLLING_RESISTANCE = 0.011;
/** Half of air density times drag coefficient times frontal area. */
const DRAG = 0.5 * 1.2 * 0.3 * 2.2;
/** Gearbox times final drive. */
const RATIOS = [14.5, 8.3, 5.6, 4.2, 3.3, 2.75];
const IDLE_SPEED = 850;
const SHIFT_UP = 2500;
const SHIFT_DOWN = 1250;
const MAX_POWER = 80_000;
const MAX_FORCE = 6500;
/** What engine drag and recuperation slow down with before the brakes have to, N. */
const MAX_COASTING_FORCE = 900;
/** Deceleration with the pedal fully down, m/s². */
export const FULL_BRAKING = 9;
const MAX_BRAKE_PEDAL_HOLDING = 0.15;

export const BATTERY_CAPACITY = 8 * 3.6e6;
/** Below this share of charge the engine drives alone. */
const MIN_CHARGE = 0.2;
const ELECTRIC_SHARE = 0.3;
const AUXILIARY_POWER = 450;
const MAX_RECUPERATION = 18_000;
export const AMBIENT_TEMPERATURE = 18;
const WARM_COOLANT = 90;

export const PARKED_VEHICLE: VehicleState = {
  time: 0,
  speed: 0,
  acceleration: 0,
  wheelAngle: 0,
  wheelAngleRate: 0,
  yawRate: 0,
  heading: 0,
  east: 0,
  north: 0,
  distance: 0,
  parked: true,
  gear: 0,
  engineSpeed: 0,
  engineTorque: 0,
  acceleratorPedal: 0,
  brakePedal: 0,
  energy: 0.85 * BATTERY_CAPACITY,
  batteryPower: 0,
  coolantTemperature: AMBIENT_TEMPERATURE,
  tyreTemperature: AMBIENT_TEMPERATURE,
};

function clamp(value: number, min: number, max: number): number {
  return Math.max(min, Math.min(max, value));
}

/** Rolling resistance and air drag against the motion, N. */
function resistance(speed: number): number {
  return speed <= 0 ? 0 : MASS * GRAVITY * ROLLING_RESISTANCE + DRAG * speed * speed;
}

/** The most that engine and motor push with, N. */
function maxForce(speed: number): number {
  return Math.min(MAX_FORCE, MAX_POWER / Math.max(speed, 1));
}

/** The state `dt` seconds later; `dt` is small against everything that happens, 10 ms is. */
export function stepVehicle(state: VehicleState, command: VehicleCommand, dt: number): VehicleState {
  const parked = command.parked && state.speed === 0;
  const drag = resistance(state.speed);
  const possible = (maxForce(state.speed) - drag) / MASS;
  const wished = parked ? 0 : clamp(command.acceleration, -FULL_BRAKING, possible);
  const speed = Math.max(0, state.speed + wished * dt);
  // What was reached, not what was wished: a car that has come to a stop does not go on decelerating.
  const acceleration = (speed - state.speed) / dt;
  const mean = (state.speed + speed) / 2;

  const wheelAngleRate = parked
    ? 0
    : clamp(
        (clamp(command.wheelAngle, -MAX_WHEEL_ANGLE, MAX_WHEEL_ANGLE) - state.wheelAngle) / dt,
        -MAX_WHEEL_ANGLE_RATE,
        MAX_WHEEL_ANGLE_RATE,
      );
  const wheelAngle = state.wheelAngle + wheelAngleRate * dt;
  const curvature = Math.tan((state.wheelAngle + wheelAngle) / 2) / WHEELBASE;
  const turned = mean * curvature * dt;
  const direction = state.heading + turned / 2;

  const force = MASS * acceleration + (speed > 0 ? drag : 0);
  return {
    time: state.time + dt,
    speed,
    acceleration,
    wheelAngle,
    wheelAngleRate,
    yawRate: mean * curvature,
    heading: state.heading + turned,
    east: state.east + mean * dt * Math.cos(direction),
    north: state.north + mean * dt * Math.sin(direction),
    distance: state.distance + mean * dt,
    parked,
    ...pedals(force, speed, parked),
    ...drivetrain(state, force, speed, parked),
    ...battery(state, force, mean, dt),
    ...temperatures(state, speed, parked, dt),
  };
}

function pedals(force: number, speed: number, parked: boolean) {
  if (speed === 0) return { acceleratorPedal: 0, brakePedal: parked ? 0 : MAX_BRAKE_PEDAL_HOLDING };
  const braking = Math.max(0, -force - MAX_COASTING_FORCE);
  return {
    acceleratorPedal: clamp(force / maxForce(speed), 0, 1),
    brakePedal: clamp(braking / (MASS * FULL_BRAKING), 0, 1),
  };
}

function drivetrain(state: VehicleState, force: number, speed: number, parked: boolean) {
  if (parked) return { gear: 0, engineSpeed: 0, engineTorque: 0 };
  const wheelSpeed = (speed / TYRE_RADIUS) * (30 / Math.PI);
  let gear = Math.max(1, state.gear);
  if (gear < RATIOS.length && wheelSpeed * RATIOS[gear - 1]! > SHIFT_UP) gear++;
  else if (gear > 1 && wheelSpeed * RATIOS[gear - 1]! < SHIFT_DOWN) gear--;
  const ratio = RATIOS[gear - 1]!;
  const engineForce = clamp(force > 0 ? force * (1 - electricShare(state)) : force, -MAX_COASTING_FORCE / 2, MAX_FORCE);
  return {
    gear,
    // Below idle speed the converter slips.
    engineSpeed: Math.max(IDLE_SPEED, wheelSpeed * ratio),
    engineTorque: (engineForce * TYRE_RADIUS) / ratio,
  };
}

function electricShare(state: VehicleState): number {
  return state.energy > MIN_CHARGE * BATTERY_CAPACITY ? ELECTRIC_SHARE : 0;
}

function battery(state: VehicleState, force: number, speed: number, dt: number) {
  const mechanical = force * speed;
  const assisting = Math.max(0, mechanical) * electricShare(state);
  const recuperated = state.energy < BATTERY_CAPACITY ? Math.min(MAX_RECUPERATION, Math.max(0, -mechanical) * 0.5) : 0;
  const batteryPower = recuperated - assisting - AUXILIARY_POWER;
  return { batteryPower, energy: clamp(state.energy + batteryPower * dt, 0, BATTERY_CAPACITY) };
}

function temperatures(state: VehicleState, speed: number, parked: boolean, dt: number) {
  const coolant = parked ? AMBIENT_TEMPERATURE : WARM_COOLANT;
  const tyre = AMBIENT_TEMPERATURE + 0.6 * speed;
  return {
    coolantTemperature: state.coolantTemperature + ((coolant - state.coolantTemperature) * dt) / (parked ? 3600 : 180),
    tyreTemperature: state.tyreTemperature + ((tyre - state.tyreTemperature) * dt) / 300,
  };
}

/** Engine revolutions per revolution of the driven wheels in a gear, 1..6. */
export function gearRatio(gear: number): number {
  return RATIOS[gear - 1]!;
}

/** Metres per second at which the wheels turn the engine this fast in this gear. */
export function speedInGear(engineSpeed: number, gear: number): number {
  return (engineSpeed * (Math.PI / 30) * TYRE_RADIUS) / gearRatio(gear);
}

/** Lateral acceleration, m/s². */
export function lateralAcceleration(state: VehicleState): number {
  return state.speed * state.yawRate;
}
