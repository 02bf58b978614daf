import { parseManifest } from '../../obu/manifest/manifest.ts';
import type { Workload } from '../../obu/manifest/workload.ts';

/** For tests: a workload with every default that a manifest would give it, and these values of its own. */
export function workloadOf(own: Partial<Workload> & { readonly name: string }): Workload {
  const [workload] = parseManifest(`services: { ${own.name}: { image: "test:1" } }`, 'test.yaml');
  return { ...workload!, ...own };
}
