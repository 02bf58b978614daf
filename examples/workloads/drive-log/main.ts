/** Prints one line a second: what the car is doing. Its grants are in car.compose.yaml. */
import { connect, type LeafValue } from '@kerbside/app-sdk';

const paths = [
  'Vehicle.Speed',
  'Vehicle.Powertrain.CombustionEngine.Speed',
  'Vehicle.Powertrain.Transmission.CurrentGear',
  'Vehicle.Chassis.SteeringWheel.Angle',
];

const stop = new AbortController();
process.on('SIGTERM', () => stop.abort());
process.on('SIGINT', () => stop.abort());

const obu = await connect({ signal: stop.signal, timeoutMs: 60_000 });
const latest = new Map<string, LeafValue>();

const number = (path: string, digits: number) => {
  const value = latest.get(path);
  return typeof value === 'number' ? value.toFixed(digits) : '-';
};

const printing = setInterval(() => {
  const [speed, engine, gear, angle] = paths.map((path, i) => number(path, i === 3 ? 1 : 0));
  console.log(`speed ${speed} km/h  engine ${engine} rpm  gear ${gear}  steering ${angle} deg`);
}, 1000);

try {
  for await (const values of obu.signals(paths, { minIntervalMs: 200, signal: stop.signal })) {
    for (const { path, value } of values) latest.set(path, value);
  }
} finally {
  clearInterval(printing);
  obu.close();
}
