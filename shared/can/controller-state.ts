/**
 * The state of a CAN controller (ISO 11898-1, fault confinement), from the error frames that Linux makes of what the
 * controller reports (linux/can/error.h). On the userspace bus such a frame is sent by a program that stands for the
 * controller, and any program may, as on vcan.
 */
import type { CanFrame } from './frame.ts';

export type ControllerState = 'Active' | 'Warning' | 'Passive' | 'BusOff';

/** Error classes, in the id of an error frame. */
const CONTROLLER = 0x04;
const BUS_OFF = 0x40;
const RESTARTED = 0x100;
const COUNTERS = 0x200;

/** Of class CONTROLLER, in byte 1; each for receiving and sending. */
const OVERFLOW_RECEIVING = 0x01;
const WARNING = 0x04 | 0x08;
const PASSIVE = 0x10 | 0x20;
const ACTIVE = 0x40;

/** The state after a frame of either kind. */
export function controllerAfter(state: ControllerState, frame: CanFrame): ControllerState {
  // A controller that is bus-off hears nothing; a frame shows that it is back, whoever restarted it.
  if (!frame.err) return state === 'BusOff' ? 'Active' : state;
  if ((frame.id & BUS_OFF) !== 0) return 'BusOff';
  if ((frame.id & RESTARTED) !== 0) return 'Active';
  const detail = (frame.id & CONTROLLER) === 0 ? 0 : frame.data[1]!;
  if ((detail & PASSIVE) !== 0) return 'Passive';
  if ((detail & WARNING) !== 0) return 'Warning';
  return (detail & ACTIVE) !== 0 ? 'Active' : state;
}

/** True when this error frame reports that the controller lost a frame before it was read. */
export function reportsLoss(frame: CanFrame): boolean {
  return frame.err && (frame.id & CONTROLLER) !== 0 && (frame.data[1]! & OVERFLOW_RECEIVING) !== 0;
}

/** Why the bus is in this state, for a person. @param frame The error frame that says so. */
export function explainController(state: Exclude<ControllerState, 'Active'>, frame: CanFrame): string {
  const [sending, receiving] = [frame.data[6]!, frame.data[7]!];
  const counted =
    (frame.id & COUNTERS) !== 0 || sending > 0 || receiving > 0
      ? ` (errors counted: ${sending} sending, ${receiving} receiving)`
      : '';
  switch (state) {
    case 'Warning':
      return `the controller counts many errors${counted}; look at wiring, termination and bit rate`;
    case 'Passive':
      return `the controller is error passive${counted}; look at wiring, termination and bit rate`;
    case 'BusOff':
      return `the controller is bus-off${counted}; look at wiring and bit rate, then: ip link set DEVICE type can restart`;
  }
}
