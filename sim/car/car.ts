import { type Random, seededRandom } from '../../shared/base/random.ts';
import { Driver, type DriverCommand, type Indicator } from './driver.ts';
import { endlessRoute } from './route.ts';
import { PARKED_VEHICLE, stepVehicle, type VehicleState } from './vehicle.ts';

/** Seconds of one step of the model. */
export const STEP = 0.01;

export interface CarState extends VehicleState {
  readonly indicator: Indicator;
  /** Driver, front passenger, rear left, rear right: true when open. */
  readonly doors: readonly boolean[];
}

/** A car and its driver; the same seed gives the same drive. */
export class Car {
  readonly #driver: Driver;
  #vehicle: VehicleState = PARKED_VEHICLE;
  #command: DriverCommand;

  constructor(seed: number) {
    const random: Random = seededRandom(seed);
    this.#vehicle = { ...PARKED_VEHICLE, heading: 2 * Math.PI * random() };
    this.#driver = new Driver(endlessRoute(random));
    this.#command = this.#driver.command(this.#vehicle, STEP);
  }

  get state(): CarState {
    return { ...this.#vehicle, indicator: this.#command.indicator, doors: this.#command.doors };
  }

  /** One step of STEP seconds. */
  step(): void {
    this.#command = this.#driver.command(this.#vehicle, STEP);
    this.#vehicle = stepVehicle(this.#vehicle, this.#command, STEP);
  }
}
