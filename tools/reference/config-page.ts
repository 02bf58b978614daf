import { z } from 'zod';
import { obuConfigSchema } from '../../obu/config/config.ts';
import { configHelp } from './config-help.ts';

const INTRODUCTION = `\`obu.yaml\` says what an OBU is and has: \`kerb obu serve --config obu.yaml\`. Only \`vehicle\` and \`obu\` have to be there. Relative paths are
those of the file's folder. An unknown key is an error that names file, line and key. Sizes are written like \`256m\` or \`2g\`, durations
like \`30s\` or \`24h\`. [An example](../guide/real-car.md#obuyaml) is in the guide; \`npm start\` writes one to \`.kerbside/obu.yaml\`.

In this table, NAME stands for a name that you choose, \`[]\` for each item of a list. Editors find the same in \`obu.schema.json\`.`;

interface JsonSchema {
  description?: string;
  properties?: Record<string, JsonSchema>;
  additionalProperties?: JsonSchema | boolean;
  items?: JsonSchema;
}

/** The configuration of an OBU as JSON schema, for editors. @throws Error when a key has no help, or a help no key */
export function configJsonSchema(): JsonSchema {
  const schema = z.toJSONSchema(obuConfigSchema, { io: 'input', unrepresentable: 'any' }) as JsonSchema;
  const seen = new Set<string>();
  describeKeys(schema, '', seen);
  const stale = Object.keys(configHelp).filter((key) => !seen.has(key));
  if (stale.length > 0) throw new Error(`tools/reference/config-help.ts has keys that are none: ${stale.join(', ')}`);
  return { ...schema, title: 'Kerbside OBU configuration' } as JsonSchema;
}

/** Puts the sentences of configHelp into the schema. */
function describeKeys(schema: JsonSchema, prefix: string, seen: Set<string>): void {
  if (schema.items !== undefined) describeKeys(schema.items, `${prefix}[]`, seen);
  if (typeof schema.additionalProperties === 'object' && schema.additionalProperties.properties !== undefined) {
    describeKeys(schema.additionalProperties, `${prefix}.NAME`, seen);
  }
  for (const [name, child] of Object.entries(schema.properties ?? {})) {
    const key = prefix === '' ? name : `${prefix}.${name}`;
    const help = configHelp[key];
    if (help === undefined) throw new Error(`tools/reference/config-help.ts has no sentence about ${key}`);
    child.description = help.replaceAll('`', '');
    seen.add(key);
    describeKeys(child, key, seen);
  }
}

/** The page about `obu.yaml`. */
export function configPage(): string[] {
  // It also checks that the sentences are those of the keys that there are.
  configJsonSchema();
  const rows = Object.entries(configHelp).map(([key, help]) => `| \`${key}\` | ${help} |`);
  return [INTRODUCTION, ['| key | what |', '|---|---|', ...rows].join('\n')];
}
