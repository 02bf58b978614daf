export interface PushLimits {
  /** Bytes of one package, all files together. */
  readonly maxPackageBytes: number;
  /** Bytes on the disk, of all packages that one tenant has pushed or is pushing. */
  readonly maxTenantBytes: number;
  /** Packages of one tenant. */
  readonly maxTenantPackages: number;
  /** Pushes of one tenant at the same time. */
  readonly maxTenantPushes: number;
  /** Milliseconds that a push may stand still before it is given up. */
  readonly stallMs: number;
}

export const DEFAULT_PUSH_LIMITS: PushLimits = {
  maxPackageBytes: 16 * 1024 * 1024,
  maxTenantBytes: 64 * 1024 * 1024,
  maxTenantPackages: 32,
  maxTenantPushes: 4,
  stallMs: 15_000,
};
