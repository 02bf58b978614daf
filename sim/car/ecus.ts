/**
 * What the control units of the simulated car say: from the state of the car to the signals of car.dbc.
 */
import type { SignalDatum } from '../../shared/vss/signal.ts';
import type { CarState } from './car.ts';
import {
  AMBIENT_TEMPERATURE,
  BATTERY_CAPACITY,
  lateralAcceleration,
  STEERING_RATIO,
  TRACK_WIDTH,
  WHEELBASE,
} from './vehicle.ts';

export type SignalValues = Readonly<Record<string, SignalDatum>>;

/** Where the trip begins, degrees (WGS 84), and its height in metres. */
export const ORIGIN = { latitude: 48.262, longitude: 11.668, altitude: 480 } as const;
/** Metres, the mean radius of the earth (IUGG). */
export const EARTH_RADIUS = 6_371_008.8;
const ODOMETER_AT_START = 18_250_000;

const KMH = 3.6;
const DEGREES = 180 / Math.PI;
/** 90 flashes a minute (UN Regulation 6). */
const FLASH_PERIOD = 60 / 90;
/** m/s²; brake lights flash from here on (UN Regulation 13-H, emergency stop signal). */
const EMERGENCY_BRAKING = 6;
const COLD_PRESSURE = 230;
const BATTERY_RESISTANCE = 0.08;

export const wheels = ['FrontLeft', 'FrontRight', 'RearLeft', 'RearRight'] as const;

/** Latitude and longitude in degrees. Good to centimetres within the kilometres that a drive covers. */
export function positionOf(state: CarState): { latitude: number; longitude: number } {
  const latitude = ORIGIN.latitude + (state.north / EARTH_RADIUS) * DEGREES;
  const parallel = EARTH_RADIUS * Math.cos(ORIGIN.latitude / DEGREES);
  return { latitude, longitude: ORIGIN.longitude + (state.east / parallel) * DEGREES };
}

/** Degrees from north over east, 0 to 360. */
export function compassHeading(state: CarState): number {
  const degrees = 90 - state.heading * DEGREES;
  return degrees - 360 * Math.floor(degrees / 360);
}

/** Speeds of the four wheels in m/s: those on the outside of a bend and in front go further. */
export function wheelSpeeds(state: CarState): readonly number[] {
  const rear = [state.speed - (state.yawRate * TRACK_WIDTH) / 2, state.speed + (state.yawRate * TRACK_WIDTH) / 2];
  const sideways = state.yawRate * WHEELBASE;
  return [...rear.map((speed) => Math.hypot(speed, sideways)), ...rear];
}

function batteryValues(state: CarState): SignalValues {
  const charge = state.energy / BATTERY_CAPACITY;
  const openVoltage = 320 + 60 * charge;
  const current = state.batteryPower / openVoltage;
  return {
    BatteryCharge: 100 * charge,
    BatteryVoltage: openVoltage + current * BATTERY_RESISTANCE,
    BatteryCurrent: current,
    BatteryTemperature: 22,
  };
}

function lightValues(state: CarState): SignalValues {
  const lit = state.time % FLASH_PERIOD < FLASH_PERIOD / 2;
  return {
    TurnIndicator: state.indicator.toUpperCase(),
    LeftIndicatorLamp: lit && state.indicator === 'left',
    RightIndicatorLamp: lit && state.indicator === 'right',
    LowBeam: true,
  };
}

function doorValues(state: CarState): SignalValues {
  const door = (open: boolean | undefined) => (open ? 'OPEN' : 'CLOSED');
  return {
    DoorFrontLeft: door(state.doors[0]),
    DoorFrontRight: door(state.doors[1]),
    DoorRearLeft: door(state.doors[2]),
    DoorRearRight: door(state.doors[3]),
    Trunk: 'CLOSED',
    Locked: state.speed > 15 / KMH,
  };
}

function tyreValues(state: CarState, sent: number): SignalValues {
  const index = sent % wheels.length;
  const wheel = wheels[index]!;
  // At constant volume the pressure goes with the absolute temperature; 330 kPa absolute are 230 above the air.
  const warm = (state.tyreTemperature + 273.15) / (AMBIENT_TEMPERATURE + 273.15);
  const pressure = (COLD_PRESSURE + 100) * warm - 100;
  return {
    TyreIndex: index,
    [`TyrePressure${wheel}`]: pressure - (index === 3 ? 6 : 0),
    [`TyreTemperature${wheel}`]: state.tyreTemperature,
  };
}

/**
 * The signals of each message of car.dbc, by the name of the message.
 * @param sent how often this message was sent before, for counters and multiplexers
 */
export const ecus: Readonly<Record<string, (state: CarState, sent: number) => SignalValues>> = {
  Engine: (state, sent) => ({
    EngineSpeed: state.engineSpeed,
    EngineTorque: state.engineTorque,
    EngineRunning: state.engineSpeed > 0,
    AcceleratorPedal: 100 * state.acceleratorPedal,
    EngineCounter: sent % 16,
  }),
  Steering: (state, sent) => ({
    SteeringWheelAngle: state.wheelAngle * STEERING_RATIO * DEGREES,
    SteeringWheelRate: state.wheelAngleRate * STEERING_RATIO * DEGREES,
    SteeringCounter: sent % 16,
  }),
  VehicleSpeed: (state, sent) => ({
    Speed: state.speed * KMH,
    IsMoving: state.speed > 0,
    SpeedCounter: sent % 16,
  }),
  Motion: (state) => ({
    LongitudinalAcceleration: state.acceleration,
    LateralAcceleration: lateralAcceleration(state),
    YawRate: state.yawRate * DEGREES,
  }),
  Brakes: (state) => ({
    BrakePedal: 100 * state.brakePedal,
    BrakePressure: 120 * state.brakePedal,
    BrakeLight: state.acceleration < -EMERGENCY_BRAKING ? 'EMERGENCY' : state.brakePedal > 0 ? 'ON' : 'OFF',
    ParkingBrake: state.parked,
  }),
  Transmission: (state) => ({ CurrentGear: state.gear, Selector: state.parked ? 'P' : 'D' }),
  Lights: lightValues,
  Doors: doorValues,
  TractionBattery: batteryValues,
  LowVoltageBattery: (state) => ({ LowVoltage: state.engineSpeed > 0 ? 14.2 : 12.6 }),
  Tyres: tyreValues,
  Cluster: (state) => ({
    Odometer: ODOMETER_AT_START + state.distance,
    CoolantTemperature: state.coolantTemperature,
    AmbientTemperature: AMBIENT_TEMPERATURE,
  }),
  GnssPosition: (state) => {
    const { latitude, longitude } = positionOf(state);
    return { Latitude: latitude, Longitude: longitude };
  },
  GnssCourse: (state) => ({
    Heading: compassHeading(state),
    GnssSpeed: state.speed * KMH,
    Altitude: ORIGIN.altitude,
  }),
  WheelSpeeds: (state, sent) => {
    const [frontLeft, frontRight, rearLeft, rearRight] = wheelSpeeds(state).map((speed) => speed * KMH);
    return {
      WheelSpeedFrontLeft: frontLeft!,
      WheelSpeedFrontRight: frontRight!,
      WheelSpeedRearLeft: rearLeft!,
      WheelSpeedRearRight: rearRight!,
      SampleTime: Math.round(state.time * 1e6),
      SampleCount: sent % 2 ** 32,
      SampleDistance: state.distance,
    };
  },
};
