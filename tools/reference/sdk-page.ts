import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { declarationNamed, declarationsOf } from './declarations.ts';

const top = join(import.meta.dirname, '../..');

const INTRODUCTION = `What a TypeScript or JavaScript program in a container uses: \`import { connect } from '@kerbside/app-sdk'\`. The image
\`kerbside/app:24\` has it. Programs in other languages speak the gateway's protocol (\`shared/protocol/gateway.proto\`), Kuksa's
\`kuksa.val.v2\`, or a CAN interface.

All methods fail with a \`KerbError\`: \`code\` is one of [errors](errors.md), \`message\` a sentence, \`context\` the values. Frames and
signals that the program is too slow for are lost, the oldest first, and counted in the stream's \`dropped\`.`;

/** What `index.ts` exports, in its order. */
export function exportedNames(index: string): string[] {
  return [...index.matchAll(/^export (?:type )?\{([^}]*)\}/gm)]
    .flatMap((match) => match[1]!.split(','))
    .map((name) => name.replace(/^\s*type /, '').trim())
    .filter((name) => name !== '');
}

/** The page about the app SDK, from the declarations that the compiler makes of it. */
export function sdkPage(): string[] {
  const names = exportedNames(readFileSync(join(top, 'shared/app-sdk/index.ts'), 'utf8'));
  const declarations = compiledDeclarations();
  const first = ['connect', 'ConnectOptions', 'Obu', 'ItemStream'];
  const ordered = [...first, ...names.filter((name) => !first.includes(name) && name !== 'ErrorCode')];
  const sections = ordered.map((name) => {
    const { text } = declarationNamed(declarations, name);
    return `## ${name}\n\n\`\`\`ts\n${text.replace(/^export declare /m, '').replace(/^export /m, '')}\n\`\`\``;
  });
  return [
    INTRODUCTION,
    ...sections,
    '## ErrorCode\n\nThe names and numbers of [errors](errors.md), such as `ErrorCode.NotGranted`.',
  ];
}

function compiledDeclarations() {
  const folder = mkdtempSync(join(tmpdir(), 'kerb-docs-'));
  try {
    const tsc = join(top, 'node_modules/.bin/tsc');
    const options = ['--declaration', '--emitDeclarationOnly', '--outDir', folder];
    execFileSync(tsc, ['-p', join(top, 'shared/app-sdk/tsconfig.json'), ...options], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    return readdirSync(folder, { recursive: true, encoding: 'utf8' })
      .filter((file) => file.endsWith('.d.ts'))
      .sort()
      .flatMap((file) => declarationsOf(readFileSync(join(folder, file), 'utf8')));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
