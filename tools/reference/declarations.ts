/** Exported declarations of TypeScript source or of a `.d.ts` file, with the comments in front of them. */
export interface Declaration {
  readonly name: string;
  readonly text: string;
}

const START = /^export (?:declare )?(?:interface|type|class|function|const|async function) (\w+)/;

/** In the order of the file. Only what stands at the top level, formatted as Biome and tsc do. */
export function declarationsOf(source: string): Declaration[] {
  const lines = source.split('\n');
  const found: Declaration[] = [];
  for (let at = 0; at < lines.length; at++) {
    const name = START.exec(lines[at]!)?.[1];
    if (name === undefined) continue;
    const end = endOf(lines, at);
    found.push({ name, text: lines.slice(commentBefore(lines, at), end + 1).join('\n') });
    at = end;
  }
  return found;
}

/** @throws Error when it is not there: the page would be wrong */
export function declarationNamed(declarations: readonly Declaration[], name: string): Declaration {
  const found = declarations.find((one) => one.name === name);
  if (found === undefined) throw new Error(`no exported declaration is called ${name}`);
  return found;
}

/** The line of the end: the first one after which all brackets are closed. */
function endOf(lines: readonly string[], start: number): number {
  let depth = 0;
  for (let at = start; at < lines.length; at++) {
    const code = lines[at]!.replace(/\/\*\*.*\*\/|\/\/.*$|^\s*\/?\*.*$/g, '').replace(/'[^']*'/g, "''");
    for (const char of code) depth += '{(['.includes(char) ? 1 : '})]'.includes(char) ? -1 : 0;
    if (depth === 0 && /[;}]\s*$/.test(code)) return at;
  }
  throw new Error(`the declaration in line ${start + 1} does not end`);
}

function commentBefore(lines: readonly string[], at: number): number {
  if (!/\*\/$/.test(lines[at - 1] ?? '')) return at;
  let first = at - 1;
  while (!/^\/\*\*/.test(lines[first]!)) first--;
  return first;
}
