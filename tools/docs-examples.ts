import type { Command } from 'commander';

/** The texts of fenced blocks of these languages; '' is a block without one. */
export function blocksOf(text: string, languages: readonly string[]): string[] {
  return [...text.matchAll(/^```(\w*)\n([\s\S]*?)^```/gm)]
    .filter((match) => languages.includes(match[1]!))
    .map((match) => match[2]!);
}

/** The `kerb` command lines of a page, in code spans and in blocks, without comments. */
export function kerbLines(text: string): string[] {
  const blocks = blocksOf(text, ['', 'sh']).flatMap((block) => block.replace(/\\\n/g, ' ').split('\n'));
  const spans = [...text.replace(/^```[\s\S]*?^```/gm, '').matchAll(/`([^`]+)`/g)].map((match) => match[1]!);
  return [...blocks, ...spans.map((span) => span.replace(/\s+/g, ' '))]
    .map((line) => /^(?:[A-Z_]+=\S+ )*(?:bin\/)?kerb (.*)$/.exec(line)?.[1] ?? '')
    .map((line) => line.replace(/\s+#.*$|\s+&$/g, '').trim())
    .filter((line) => line !== '');
}

/** What of a command line the program does not have: a verb or an option. Undefined when it has all. */
export function unknownPart(program: Command, line: string): string | undefined {
  let command = program;
  let isVerb = true;
  for (const token of line.replace(/[[\]]/g, '').split(/\s+/)) {
    if (token.startsWith('-')) {
      isVerb = false;
      const name = token.replace(/[=,].*$/, '');
      const has = command.options.some(({ long, short }) => long === name || short === name);
      if (!has && !['--help', '-h', '--version', '-', '--', '-V'].includes(name)) return `${line}: ${token}`;
    } else if (isVerb && command.commands.length > 0) {
      // Words in capitals and dots stand for something.
      if (!/^[a-z]/.test(token)) return undefined;
      const next = command.commands.find((one) => one.name() === token);
      if (next === undefined) return `${line}: ${token}`;
      command = next;
    }
  }
  return undefined;
}
