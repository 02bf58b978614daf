import { ErrorCode, KerbError } from '../../shared/base/errors.ts';
import type { TaskConfig } from '../../shared/task-package/format.ts';
import type { TaskPackage } from '../../shared/task-package/reader.ts';

/** Bytes that one tender may come to hold, as its package declares: the guest's memory, its input and its output. */
export function declaredMemory({ memory, maxInput, maxOutput }: TaskConfig): number {
  return memory + maxInput + maxOutput;
}

/** @throws KerbError TenderUnavailable: the tenders of this broker do not have what the package demands */
export function checkUsable(
  { dir, config }: TaskPackage,
  { isolations, maxMemory }: { readonly isolations: readonly string[]; readonly maxMemory: number },
): void {
  const needed = declaredMemory(config);
  if (needed > maxMemory) {
    throw new KerbError(
      ErrorCode.TenderUnavailable,
      `task ${config.name} ${config.version} may take ${needed} bytes of memory; the tenders of this broker may take ${maxMemory} (--tender-memory)`,
      { dir, needed, maxMemory },
    );
  }
  if (config.isolation === 'any' || isolations.includes(config.isolation)) return;
  throw new KerbError(
    ErrorCode.TenderUnavailable,
    `task ${config.name} ${config.version} demands isolation ${config.isolation}; this broker has ${isolations.join(', ')}`,
    { dir, isolation: config.isolation },
  );
}
