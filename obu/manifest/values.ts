/** Smallest `mem_limit` that the Docker Engine accepts, in bytes. */
export const MIN_MEM_LIMIT = 6 * 1024 * 1024;

const sizeUnits: Readonly<Record<string, number>> = {
  '': 1,
  b: 1,
  k: 1024,
  kb: 1024,
  m: 1024 ** 2,
  mb: 1024 ** 2,
  g: 1024 ** 3,
  gb: 1024 ** 3,
};

/** A size as Compose writes it ("256m", "1.5gb", 268435456), in bytes; undefined when it is none. */
export function parseSize(value: string | number): number | undefined {
  const match = /^(\d+(?:\.\d+)?) ?([a-z]*)$/i.exec(String(value).trim());
  if (!match) return undefined;
  const unit = sizeUnits[match[2]!.toLowerCase()];
  if (unit === undefined) return undefined;
  const bytes = Math.floor(Number(match[1]) * unit);
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

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
