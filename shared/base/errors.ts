/**
 * The one error class of Kerbside, and its codes.
 *
 * Codes are numbers in ranges by room, so that a log line or a refusal on the wire tells where it comes from:
 * 1xxx shared, 2xxx manifest/planner/engine, 3xxx CAN and signals, 4xxx dashcam, 5xxx gateway, 6xxx offload on the OBU,
 * 7xxx broker, 8xxx tender and unikernel, 9xxx simulator. A code is never given a second meaning.
 */
export const ErrorCode = {
  BadConfig: 1001,
  BadProtocolMessage: 1002,
  MessageTooLarge: 1003,
  ConnectionLost: 1004,
  BadCanFrame: 1005,
  BadCandumpLine: 1006,
  BadCanFilter: 1007,
  BadIdentity: 1008,
  BadTaskPackage: 1009,
  TaskPackageDigestMismatch: 1010,
  BadDuration: 1011,
  Cancelled: 1012,
  SetupIncomplete: 1013,
  ApiUnavailable: 1014,
  WrongArchitecture: 1015,
  TaskUnsigned: 1016,
  TaskSignerUnknown: 1017,
  TaskSignatureInvalid: 1018,
  TaskSignatureExpired: 1019,
  TaskTooLarge: 1020,
  BadControlRequest: 1030,
  ApiForbidden: 1031,
  NotReached: 1032,
  IdentityExpired: 1070,
  ClockNotSet: 1071,

  BadManifest: 2001,
  EngineUnavailable: 2003,
  ImageMissing: 2004,
  ContainerFailed: 2005,
  UnknownWorkload: 2006,
  ImageBuildFailed: 2007,
  ObuAlreadyRunning: 2008,
  BadSignalScope: 2010,
  StateDamaged: 2011,
  StateUnavailable: 2012,
  BadBundle: 2013,
  NothingToRollBack: 2014,
  UnknownManifest: 2015,
  DiskFull: 2016,
  TooManyProcesses: 2030,
  ProcessKilled: 2050,

  BusUnavailable: 3001,
  BusDown: 3002,
  BusWriteFailed: 3003,
  BadDbc: 3004,
  BadSignalMapping: 3005,
  UnknownSignal: 3006,
  SignalOutOfRange: 3007,
  BadCondition: 3008,
  CanInterfaceUnavailable: 3020,
  NoInterfaceGrant: 3021,
  BusErrors: 3022,
  NotAnActuator: 3030,
  NoActuationProvider: 3031,
  ActuationTimedOut: 3032,
  ActuationRefused: 3033,
  BadSignalValue: 3034,
  AlreadyProvided: 3035,
  SignalOverlap: 3060,
  DbcHasProblems: 3061,

  CameraUnavailable: 4001,
  BadCameraSource: 4002,
  BadCameraWish: 4003,
  UnknownCamera: 4004,

  NotGranted: 5001,
  BadGatewayRequest: 5002,
  TooManyRequests: 5003,
  UnknownBus: 5004,
  GatewayDefect: 5005,
  GatewayUnavailable: 5006,
  CanWriteNotGranted: 5010,
  CanWriteWrongLength: 5011,
  CanWriteTooFast: 5012,
  CanWriteNotNow: 5013,
  KuksaUnavailable: 5020,
  KuksaUnauthenticated: 5021,
  KeptWaiting: 5030,
  ReadsNothing: 5031,

  NoBroker: 6001,
  BrokerLost: 6002,
  BudgetExhausted: 6003,
  UnknownTask: 6004,
  OffloadRefused: 6005,
  InputTooLarge: 6006,
  UnknownOffload: 6007,

  Unauthenticated: 7001,
  BadOffloadRequest: 7002,
  UnknownPackage: 7003,
  QueueFull: 7004,
  BudgetSpentInQueue: 7005,
  BrokerStopping: 7006,
  TooManyFromTenant: 7007,
  TaskRefusedInput: 7008,
  IsolationUnavailable: 7009,
  PackageQuarantined: 7010,
  PushForbidden: 7011,
  PushQuotaSpent: 7012,
  BadPushRequest: 7013,
  PackageNotStored: 7014,
  DeadlineUnreachable: 7020,
  QuotaSpent: 7021,
  NotSupported: 7022,
  OffloadCancelled: 7023,
  TaskForbidden: 7024,
  TaskRevoked: 7025,
  CertificateRevoked: 7026,
  TooManyConnections: 7027,
  BadPolicy: 7028,
  ReceiptInvalid: 7029,
  ResultNotKept: 7030,
  BrokerAlreadyRunning: 7031,
  TransferStalled: 7040,
  StateElsewhere: 7050,
  StateForbidden: 7051,
  StateTooLarge: 7052,
  StateNotKept: 7053,
  StateConflict: 7054,
  UnknownStateKey: 7055,

  ImageRefused: 8001,
  TenderUnavailable: 8002,
  TenderDied: 8003,
  GuestFault: 8004,
  GuestAborted: 8005,
  GuestDeadline: 8006,
  TenderInputTooLarge: 8007,
  GuestBadOutput: 8008,
  CgroupsUnavailable: 8009,

  SimulatorFailed: 9001,
} as const;

export type ErrorCode = (typeof ErrorCode)[keyof typeof ErrorCode];

const nameByCode = new Map<number, string>(Object.entries(ErrorCode).map(([name, code]) => [code, name]));

/** The name of a code, for messages and metrics; `Unknown` for a code of a newer version. */
export function errorName(code: number): string {
  return nameByCode.get(code) ?? 'Unknown';
}

/**
 * An error that a person or a peer is meant to read: what is wrong, where, and what to do, in one line.
 * `context` carries the values for machines (paths, ids, numbers); it never carries payloads or keys.
 */
export class KerbError extends Error {
  readonly code: ErrorCode;
  readonly context: Readonly<Record<string, unknown>>;

  constructor(code: ErrorCode, message: string, context: Record<string, unknown> = {}, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'KerbError';
    this.code = code;
    this.context = context;
  }
}

/** Narrows to KerbError, and with `code` to that one code. */
export function isKerbError(error: unknown, code?: ErrorCode): error is KerbError {
  return error instanceof KerbError && (code === undefined || error.code === code);
}

/** Narrows to an errno error of Node (`ENOENT`, `ECONNREFUSED` …). */
export function isErrno(error: unknown, code?: string): error is NodeJS.ErrnoException {
  return error instanceof Error && 'code' in error && (code === undefined || error.code === code);
}

/** The sentence of any thrown value. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
