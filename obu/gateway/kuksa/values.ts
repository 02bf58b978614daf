/** Values and what VSS says of them, between this OBU and `kuksa.val.v2`. */
import { ErrorCode, KerbError } from '../../../shared/base/errors.ts';
import { exact } from '../../../shared/base/exact.ts';
import { kuksa } from '../../../shared/protocol/generated/kuksa.js';
import type { LeafValue, SignalDatum, SignalInfo, SignalValue } from '../../../shared/vss/signal.ts';
import { isListType, isListValue, itemType } from '../../../shared/vss/signal-list.ts';

const { DataType, EntryType } = kuksa.val.v2;
export type WireValue = kuksa.val.v2.Value.$Properties;
export type WireDatapoint = kuksa.val.v2.Datapoint.$Properties;
export type WireMetadata = kuksa.val.v2.Metadata.$Properties;

/** By VSS data type, that of the items for a list: the field of a Value, the field of a Value with several, and the DataType. */
const wireTypes: Readonly<Record<string, readonly [keyof WireValue, keyof WireValue, number]>> = {
  string: ['string', 'stringArray', DataType.DATA_TYPE_STRING],
  boolean: ['bool', 'boolArray', DataType.DATA_TYPE_BOOLEAN],
  int8: ['int32', 'int32Array', DataType.DATA_TYPE_INT8],
  int16: ['int32', 'int32Array', DataType.DATA_TYPE_INT16],
  int32: ['int32', 'int32Array', DataType.DATA_TYPE_INT32],
  int64: ['int64', 'int64Array', DataType.DATA_TYPE_INT64],
  uint8: ['uint32', 'uint32Array', DataType.DATA_TYPE_UINT8],
  uint16: ['uint32', 'uint32Array', DataType.DATA_TYPE_UINT16],
  uint32: ['uint32', 'uint32Array', DataType.DATA_TYPE_UINT32],
  uint64: ['uint64', 'uint64Array', DataType.DATA_TYPE_UINT64],
  float: ['float', 'floatArray', DataType.DATA_TYPE_FLOAT],
  double: ['double', 'doubleArray', DataType.DATA_TYPE_DOUBLE],
};

/** The DataType of a list, by the data type of its items. */
const listDataTypes: Readonly<Record<string, number>> = {
  string: DataType.DATA_TYPE_STRING_ARRAY,
  boolean: DataType.DATA_TYPE_BOOLEAN_ARRAY,
  int8: DataType.DATA_TYPE_INT8_ARRAY,
  int16: DataType.DATA_TYPE_INT16_ARRAY,
  int32: DataType.DATA_TYPE_INT32_ARRAY,
  int64: DataType.DATA_TYPE_INT64_ARRAY,
  uint8: DataType.DATA_TYPE_UINT8_ARRAY,
  uint16: DataType.DATA_TYPE_UINT16_ARRAY,
  uint32: DataType.DATA_TYPE_UINT32_ARRAY,
  uint64: DataType.DATA_TYPE_UINT64_ARRAY,
  float: DataType.DATA_TYPE_FLOAT_ARRAY,
  double: DataType.DATA_TYPE_DOUBLE_ARRAY,
};

const entryTypes = {
  attribute: EntryType.ENTRY_TYPE_ATTRIBUTE,
  sensor: EntryType.ENTRY_TYPE_SENSOR,
  actuator: EntryType.ENTRY_TYPE_ACTUATOR,
} as const;

export function toWireValue({ datatype }: Pick<SignalInfo, 'datatype'>, value: LeafValue): WireValue {
  const [single, several] = wireTypes[itemType(datatype)]!;
  return isListValue(value) ? { [several]: { values: value.map(toWireItem) } } : { [single]: toWireItem(value) };
}

/** As protobufjs takes it. */
function toWireItem(value: SignalDatum): number | boolean | string {
  return typeof value === 'bigint' ? toWireInteger(value) : value;
}

/** 64 bits as protobufjs takes them from anybody: its types say number, and a number would be rounded. */
function toWireInteger(value: bigint): number {
  const bits = BigInt.asUintN(64, value);
  const wide = { low: Number(bits & 0xffffffffn) | 0, high: Number(bits >> 32n) | 0, unsigned: value >= 0n };
  return wide as unknown as number;
}

/**
 * A stale value is no valid value: its datapoint has the time of the last one and nothing else, which is how this
 * interface says so. The same without a time when there never was one.
 */
export function toDatapoint(info: SignalInfo, now: SignalValue | undefined): WireDatapoint {
  if (now === undefined) return {};
  const seconds = Math.floor(now.timeUs / 1e6);
  const timestamp = { seconds, nanos: Math.round(now.timeUs - seconds * 1e6) * 1000 };
  return now.stale ? { timestamp } : { timestamp, value: toWireValue(info, now.value) };
}

/** @throws KerbError BadSignalValue when there is none, or it is of another type than the signal */
export function fromWireValue({ path, datatype }: SignalInfo, wire: WireValue | null | undefined): LeafValue {
  const wanted = wireTypes[itemType(datatype)]![isListType(datatype) ? 1 : 0];
  const [field, value] = Object.entries(wire ?? {}).find(([, one]) => one !== null && one !== undefined) ?? [];
  if (field !== wanted) {
    const found = field === undefined ? 'there is no value' : `it is in the field ${field}`;
    throw new KerbError(ErrorCode.BadSignalValue, `${path} is a ${datatype}, in the field ${wanted}; ${found}`, {
      path,
    });
  }
  return isListType(datatype)
    ? ((value as { values?: unknown[] }).values ?? []).map(fromWireItem)
    : fromWireItem(value);
}

/** 64-bit integers come as objects of the package for them, which is a dependency of protobufjs. */
function fromWireItem(value: unknown): SignalDatum {
  return typeof value === 'object' ? exact(BigInt(String(value))) : (value as SignalDatum);
}

/** Microseconds since 1970; 0 when there is none. */
export function timeOf({ timestamp }: WireDatapoint): number {
  return Number(String(timestamp?.seconds ?? 0)) * 1e6 + Math.round((timestamp?.nanos ?? 0) / 1000);
}

export function toMetadata(info: SignalInfo, id: number): WireMetadata {
  const [, , itemDataType] = wireTypes[itemType(info.datatype)]!;
  const dataType = isListType(info.datatype) ? listDataTypes[itemType(info.datatype)]! : itemDataType;
  const item = { datatype: itemType(info.datatype) };
  const { path, type, description, comment, deprecation, unit, min, max, allowed } = info;
  return {
    path,
    id,
    dataType,
    entryType: entryTypes[type],
    description,
    comment,
    deprecation,
    unit,
    ...(min !== undefined && { min: toWireValue(item, min) }),
    ...(max !== undefined && { max: toWireValue(item, max) }),
    ...(allowed !== undefined && { allowedValues: toWireValue(item, allowed) }),
  };
}
