import { policyJsonSchema } from '../../broker/tenants/policy-schema.ts';

const INTRODUCTION = `A policy says who may what at a broker: \`kerb broker serve --policy policy.yaml\`. No key has to be there; \`kerb broker policy check\`
says what is wrong with a file, with line and key. Sizes are written like \`256m\` or \`2g\`, durations like \`30s\` or \`24h\`; where a number
bounds something, \`unlimited\` takes the bound away. How to use it is in the guide about [tenants](../guide/tenants.md).

In this table, TENANT stands for the organisation in the certificates of a tenant's vehicles, \`[]\` for each item of a list. What \`default\`
says counts for each tenant that says nothing else. Editors find the same in \`policy.schema.json\`.`;

interface JsonSchema {
  readonly description?: string;
  readonly properties?: Record<string, JsonSchema>;
  readonly items?: JsonSchema;
}

/** The page about policy files. @throws Error when a key has no description */
export function policyPage(): string[] {
  const rows = keysOf(policyJsonSchema() as JsonSchema, '').map(([key, help]) => `| \`${key}\` | ${help} |`);
  return [INTRODUCTION, ['| key | what |', '|---|---|', ...rows].join('\n')];
}

/** `tenants` has the keys of `default`, which are not listed twice. */
function keysOf(schema: JsonSchema, prefix: string): [string, string][] {
  if (schema.items !== undefined) return keysOf(schema.items, `${prefix}[]`);
  return Object.entries(schema.properties ?? {}).flatMap(([name, child]): [string, string][] => {
    const key = prefix === '' ? name : `${prefix}.${name}`;
    if (child.description === undefined)
      throw new Error(`broker/tenants/policy-schema.ts has no sentence about ${key}`);
    const below = keysOf(child, key);
    const rows: [string, string][] = [[key, child.description], ...below];
    if (key === 'tenants') rows.push(['tenants.TENANT', 'what this tenant may: the keys of `default`']);
    return rows;
  });
}
