/**
 * What a message from a container may weigh. Decoding millions of tiny fields takes seconds and many times their bytes,
 * and nobody else is served meanwhile; so a message may be large only because of the one field that is copied whole.
 */
import protobuf from 'protobufjs/minimal.js';
import { ErrorCode, isKerbError, KerbError, messageOf } from '../../shared/base/errors.ts';
import { kerbside } from '../../shared/protocol/generated/gateway.js';

const { Reader } = protobuf;

/** Largest message, or rest of a message beside the input of its offload, in bytes. Room for thousands of paths. */
export const MAX_PLAIN = 256 * 1024;

/** ClientMessage.offload and Offload.input of gateway.proto, both length-delimited. */
const OFFLOAD = (6 << 3) | 2;
const INPUT = (3 << 3) | 2;
/** More fields than an offload has, in any order. */
const MAX_FIELDS = 8;
const GROUP_START = 3;

/**
 * Whether decoding these bytes costs little.
 * @throws Error when they are no message
 */
export function isCheapToDecode(bytes: Uint8Array): boolean {
  return bytes.length <= MAX_PLAIN || bytes.length - inputLength(bytes) <= MAX_PLAIN;
}

/** Bytes of the input, found without decoding the rest; 0 when there is none or it is not where it belongs. */
function inputLength(bytes: Uint8Array): number {
  const reader = Reader.create(bytes);
  let offloadEnd: number | undefined;
  for (let fields = 0; fields < MAX_FIELDS && reader.pos < (offloadEnd ?? reader.len); fields++) {
    const tag = reader.uint32();
    if (offloadEnd === undefined && tag === OFFLOAD) {
      const length = reader.uint32();
      offloadEnd = reader.pos + length;
    } else if (offloadEnd !== undefined && tag === INPUT) {
      const length = reader.uint32();
      return reader.pos + length <= Math.min(offloadEnd, reader.len) ? length : 0;
    } else {
      if ((tag & 7) === GROUP_START) return 0; // it may hold any number of fields
      reader.skipType(tag & 7);
    }
  }
  return 0;
}

/** A message from a container. @throws KerbError MessageTooLarge | BadProtocolMessage */
export function decodeMessage(bytes: Buffer): kerbside.gateway.v1.ClientMessage {
  try {
    if (!isCheapToDecode(bytes)) {
      const message = `a message of ${bytes.length} bytes came; without the input of an offload ${MAX_PLAIN} are the limit`;
      throw new KerbError(ErrorCode.MessageTooLarge, message);
    }
    return kerbside.gateway.v1.ClientMessage.decode(bytes);
  } catch (error) {
    if (isKerbError(error)) throw error;
    throw new KerbError(ErrorCode.BadProtocolMessage, `a message could not be decoded: ${messageOf(error)}`);
  }
}
