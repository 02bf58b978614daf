import type { KerbError } from '../../shared/base/errors.ts';
import type { TaskPackage } from '../../shared/task-package/reader.ts';
import type { TrustedSignature } from '../../shared/task-package/signature.ts';
import { faultOf, type PackageRules, type SignedPackage } from '../tenants/package-rules.ts';
import type { Origin } from './pushed-packages.ts';

/** The tenant of a package that lies in the packages directory. */
const OPERATOR = undefined;

/** A package that was verified, whether it is run now or not. */
export class StoredPackage implements SignedPackage {
  readonly taskPackage: TaskPackage;
  signatures: readonly TrustedSignature[] | undefined;
  /** The pushes that it came with, one of each tenant; empty: the operator has put it there. */
  readonly origins: readonly Origin[];
  /** By the tenant that is not to have it, because there was a higher version. */
  versionFaults: ReadonlyMap<string | undefined, KerbError> = new Map();
  #owners: readonly string[] | undefined;
  #fault: KerbError | undefined;

  constructor(
    taskPackage: TaskPackage,
    signatures: readonly TrustedSignature[] | undefined,
    origins: readonly Origin[],
  ) {
    this.taskPackage = taskPackage;
    this.signatures = signatures;
    this.origins = origins;
  }

  get digest(): string {
    return this.taskPackage.digest;
  }
  get name(): string {
    return this.taskPackage.config.name;
  }
  get version(): string {
    return this.taskPackage.config.version;
  }
  /** Tenants that pushed it and for whom it may be run; undefined: the operator's. */
  get owners(): readonly string[] | undefined {
    return this.#owners;
  }
  /** Why it is not run; undefined: it is. */
  get fault(): KerbError | undefined {
    return this.#fault;
  }
  /** Its owners, whether the policy lets it be run for them or not: the operator, or tenants. */
  get tenants(): readonly (string | undefined)[] {
    return this.origins.length === 0 ? [OPERATOR] : this.origins.map(({ tenant }) => tenant);
  }

  /** Holds it against the policy as it is now. True when that changes for whom it is run. */
  judge(rules: PackageRules, now: number): boolean {
    const before = [this.#fault?.message, ...(this.#owners ?? [])].join('\n');
    const faults = this.tenants.map((tenant) => this.versionFaults.get(tenant) ?? faultOf(rules, this, tenant, now));
    this.#fault = faults.every((fault) => fault !== undefined) ? faults[0] : undefined;
    this.#owners =
      this.origins.length === 0
        ? OPERATOR
        : this.origins.flatMap(({ tenant }, i) => (faults[i] === undefined ? [tenant] : []));
    return before !== [this.#fault?.message, ...(this.#owners ?? [])].join('\n');
  }
}
