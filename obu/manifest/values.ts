/** Smallest `mem_limit` that the Docker Engine accepts, in bytes. */
export const MIN_MEM_LIMIT = 6 * 1024 * 1024;

/** The words that may stand for a priority. */
export const priorityWords: Readonly<Record<string, number>> = { safety: 1000, high: 750, normal: 500, idle: 0 };

/**
 * Splits a command line into words as Compose does for a `command` that is one string: blanks separate, quotes and
 * backslashes protect, nothing is expanded. Undefined when a quote is left open.
 */
export function splitCommand(line: string): string[] | undefined {
  const words: string[] = [];
  let word: string | undefined;
  let quote = '';
  for (let i = 0; i < line.length; i++) {
    const char = line[i]!;
    if (quote === "'") {
      if (char === "'") quote = '';
      else word += char;
    } else if (char === '\\' && i + 1 < line.length) {
      const next = line[++i]!;
      // Inside double quotes a backslash protects only what it has to, as in a shell.
      word = (word ?? '') + (quote === '"' && next !== '"' && next !== '\\' ? `\\${next}` : next);
    } else if (quote === '"') {
      if (char === '"') quote = '';
      else word += char;
    } else if (char === '"' || char === "'") {
      quote = char;
      word ??= '';
    } else if (/\s/.test(char)) {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else {
      word = (word ?? '') + char;
    }
  }
  if (quote !== '') return undefined;
  if (word !== undefined) words.push(word);
  return words;
}
