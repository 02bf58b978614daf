import { z } from 'zod';
import { plainIssue } from '../../shared/text/plain-issue.ts';
import { refuse, value } from '../../shared/yaml/value.ts';
import { eachOf } from './values.ts';
import type { Dependency } from './workload.ts';

const conditions: Readonly<Record<string, Dependency['condition']>> = {
  service_started: 'started',
  service_healthy: 'healthy',
  service_completed_successfully: 'completed',
};
const dependsOnShape = z.record(
  z.string(),
  z.strictObject({
    condition: z.enum(Object.keys(conditions), `must be one of ${Object.keys(conditions).join(', ')}`),
  }),
);

/** Compose's `depends_on`, as a list or with conditions; sorted by name. */
export const dependsOn = value<readonly Dependency[]>(
  {
    anyOf: [
      { type: 'array', uniqueItems: true, items: { type: 'string' } },
      {
        type: 'object',
        additionalProperties: {
          type: 'object',
          properties: { condition: { enum: Object.keys(conditions) } },
          required: ['condition'],
          additionalProperties: false,
        },
      },
    ],
  },
  (raw) => {
    let found: Dependency[];
    if (Array.isArray(raw)) {
      const names = eachOf(raw, 'services', (item) => (typeof item === 'string' ? item : refuse('must be a name')));
      if (!Array.isArray(names)) return names;
      const twice = names.findIndex((one, i) => names.indexOf(one) < i);
      if (twice !== -1) return refuse(`"${names[twice]}" is there twice`, twice);
      found = names.map((workload) => ({ workload, condition: 'started' }));
    } else {
      const parsed = dependsOnShape.safeParse(raw, { error: plainIssue });
      if (!parsed.success) {
        const [issue] = parsed.error.issues;
        if (issue!.path.length === 0) return refuse('must be a list of services, or a map with a condition for each');
        const unknown = issue!.code === 'unrecognized_keys';
        const sentence = unknown ? `has \`${issue!.keys[0]}\`, and only \`condition\` is taken` : issue!.message;
        return refuse(
          issue!.path.length === 1 && !unknown ? 'must be a map with `condition`' : sentence,
          ...issue!.path,
        );
      }
      found = Object.entries(parsed.data).map(([workload, { condition }]) => ({
        workload,
        condition: conditions[condition]!,
      }));
    }
    return found.sort((a, b) => (a.workload < b.workload ? -1 : 1));
  },
);
