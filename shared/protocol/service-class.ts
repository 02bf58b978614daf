/** How urgent an offload is, the most urgent first. An OBU makes it of the priority of the workload. */
export const SERVICE_CLASSES = ['safety', 'high', 'normal', 'idle'] as const;

export type ServiceClass = (typeof SERVICE_CLASSES)[number];

/** 0 is the most urgent. */
export function rankOf(serviceClass: ServiceClass): number {
  return SERVICE_CLASSES.indexOf(serviceClass);
}

/** The class, or `highest` when that is less urgent. */
export function cappedClass(wanted: ServiceClass, highest: ServiceClass): ServiceClass {
  return rankOf(wanted) < rankOf(highest) ? highest : wanted;
}

/** @param priority 0..1000; the words of the manifest are 1000 safety, 750 high, 500 normal, 0 idle */
export function classOfPriority(priority: number): ServiceClass {
  if (priority >= 1000) return 'safety';
  if (priority >= 750) return 'high';
  return priority >= 250 ? 'normal' : 'idle';
}
