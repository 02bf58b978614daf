/**
 * The driver: follows the route with foresight. Brakes in time for what comes next, steers into bends and out of them,
 * indicates before turning, and opens a door only when parked.
 */
import type { Segment } from './route.ts';
import { MAX_WHEEL_ANGLE, type VehicleCommand, type VehicleState, WHEELBASE } from './vehicle.ts';

export type Indicator = 'off' | 'left' | 'right';

export interface DriverCommand extends VehicleCommand {
  readonly indicator: Indicator;
  /** Of driver, front passenger, rear left, rear right. */
  readonly doors: readonly boolean[];
}

const ACCELERATION = 1.6;
/** Planned; the controller may need a little more. */
const BRAKING = 1.8;
const MAX_BRAKING = 3.5;
/** m/s³ */
const JERK = 4;
/** How strongly a wrong speed is corrected, 1/s. */
const SPEED_GAIN = 0.9;
/** Indicate this long before a turn, at least so far before it. */
const INDICATE_SECONDS = 3.5;
const INDICATE_METRES = 35;
/** Front wheels within this angle are straight. */
const STRAIGHT = 0.05;
/** rad/s at the front wheels. */
const STEERING_RATE = 0.35;
const DOORS_CLOSED = [false, false, false, false] as const;
const DRIVER_DOOR_OPEN = [true, false, false, false] as const;
/** The door is open between these shares of the time parked. */
const DOOR_OPEN = [0.25, 0.75] as const;

export class Driver {
  readonly #route: Iterator<Segment>;
  #current: Segment;
  #next: Segment;
  /** Where the current piece began: odometer, heading and time. */
  #beganAt = { distance: 0, heading: 0, time: 0 };
  #standingSince: number | undefined;
  #acceleration = 0;
  #wheelAngle = 0;
  #lever: Indicator = 'off';

  constructor(route: Iterator<Segment>) {
    this.#route = route;
    this.#current = this.#take();
    this.#next = this.#take();
  }

  /** What the driver does in this state for the next `dt` seconds. */
  command(state: VehicleState, dt: number): DriverCommand {
    this.#advance(state);
    this.#steer(dt);
    const parked = this.#current.kind === 'parking' && state.speed === 0;
    this.#accelerate(state, dt);
    return {
      acceleration: this.#acceleration,
      wheelAngle: this.#wheelAngle,
      parked,
      indicator: this.#indicator(state),
      doors: this.#doors(state),
    };
  }

  #take(): Segment {
    const next = this.#route.next();
    return next.done ? { kind: 'stop', seconds: Number.POSITIVE_INFINITY } : next.value;
  }

  #advance(state: VehicleState): void {
    const current = this.#current;
    if (current.kind === 'stop' || current.kind === 'parking') {
      if (state.speed > 0) return;
      this.#standingSince ??= state.time;
      if (state.time - this.#standingSince < current.seconds) return;
    } else if (this.#remaining(state) > 0) {
      return;
    }
    this.#standingSince = undefined;
    this.#beganAt = { distance: state.distance, heading: state.heading, time: state.time };
    this.#current = this.#next;
    this.#next = this.#take();
  }

  /** Metres until the current piece ends. */
  #remaining(state: VehicleState): number {
    const current = this.#current;
    switch (current.kind) {
      case 'straight':
        return current.length - (state.distance - this.#beganAt.distance);
      case 'bend':
      case 'turn': {
        // The wheels need time to come back, and the car turns on meanwhile: half the rate on average.
        const turned = Math.abs(state.heading - this.#beganAt.heading);
        const curvature = Math.tan(Math.abs(state.wheelAngle)) / WHEELBASE;
        const unwinding = (state.speed * curvature * Math.abs(state.wheelAngle)) / STEERING_RATE / 2;
        return (Math.abs(current.angle) - turned - unwinding) * current.radius;
      }
      default:
        return 0;
    }
  }

  #steer(dt: number): void {
    const { kind } = this.#current;
    const wished =
      kind === 'bend' || kind === 'turn'
        ? Math.sign(this.#current.angle) * Math.atan(WHEELBASE / this.#current.radius)
        : 0;
    const target = Math.max(-MAX_WHEEL_ANGLE, Math.min(MAX_WHEEL_ANGLE, wished));
    const change = Math.max(-STEERING_RATE * dt, Math.min(STEERING_RATE * dt, target - this.#wheelAngle));
    this.#wheelAngle += change;
  }

  #accelerate(state: VehicleState, dt: number): void {
    const target = this.#targetSpeed(state);
    const stopping = target === 0 && state.speed < 0.5;
    const wished = stopping
      ? -0.8
      : Math.max(-MAX_BRAKING, Math.min(ACCELERATION, SPEED_GAIN * (target - state.speed)));
    const change = Math.max(-JERK * dt, Math.min(JERK * dt, wished - this.#acceleration));
    this.#acceleration = state.speed === 0 && target === 0 ? 0 : this.#acceleration + change;
  }

  /** As fast as this piece allows, and slow enough to brake for the next one. */
  #targetSpeed(state: VehicleState): number {
    const current = this.#current;
    if (current.kind === 'stop' || current.kind === 'parking') return 0;
    // Out of a turn first, then faster: the wheels are still turned.
    const curvature = Math.tan(Math.abs(state.wheelAngle)) / WHEELBASE;
    const sideways = curvature > 1e-6 ? Math.sqrt(2.2 / curvature) : Number.POSITIVE_INFINITY;
    const next = this.#next;
    const after = next.kind === 'stop' || next.kind === 'parking' ? 0 : next.speed;
    // Stop a little short, so that the pull of the controller is enough.
    const room = Math.max(0, this.#remaining(state) - 0.5 * state.speed);
    return Math.min(current.speed, sideways, Math.sqrt(after * after + 2 * BRAKING * room));
  }

  #indicator(state: VehicleState): Indicator {
    const wanted = this.#wantedIndicator(state);
    // The lever goes back when the wheels do.
    if (wanted === 'off' && Math.abs(state.wheelAngle) > STRAIGHT) return this.#lever;
    this.#lever = wanted;
    return wanted;
  }

  #wantedIndicator(state: VehicleState): Indicator {
    if (this.#current.kind === 'turn') return this.#current.angle > 0 ? 'left' : 'right';
    if (this.#current.kind === 'straight' && this.#next.kind === 'turn') {
      const ahead = Math.max(INDICATE_METRES, INDICATE_SECONDS * state.speed);
      if (this.#remaining(state) < ahead) return this.#next.angle > 0 ? 'left' : 'right';
    }
    return 'off';
  }

  #doors(state: VehicleState): readonly boolean[] {
    const current = this.#current;
    if (current.kind !== 'parking' || this.#standingSince === undefined || !state.parked) return DOORS_CLOSED;
    const share = (state.time - this.#standingSince) / current.seconds;
    return share > DOOR_OPEN[0] && share < DOOR_OPEN[1] ? DRIVER_DOOR_OPEN : DOORS_CLOSED;
  }
}
