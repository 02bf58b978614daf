/**
 * `$NAME` and `${NAME…}` in values, by the rules of Compose (compose-spec, "Interpolation"), for a place where no
 * variable is ever set: a manifest means the same on every OBU and in every shell. So `${NAME:-default}` is its
 * default, `$$` is a dollar sign, and what has no default is refused.
 */

export type Interpolated = { readonly text: string } | { readonly fault: string };

/** Depth of defaults within defaults. */
const MAX_DEPTH = 16;

class Fault extends Error {}

export function interpolate(text: string): Interpolated {
  if (!text.includes('$')) return { text };
  try {
    return { text: replaced(text, 0) };
  } catch (error) {
    if (error instanceof Fault) return { fault: error.message };
    throw error;
  }
}

function replaced(text: string, depth: number): string {
  if (depth > MAX_DEPTH) throw new Fault('has too many variables inside one another');
  let out = '';
  let at = 0;
  for (;;) {
    const dollar = text.indexOf('$', at);
    if (dollar === -1) return out + text.slice(at);
    out += text.slice(at, dollar);
    if (text[dollar + 1] === '$') {
      out += '$';
      at = dollar + 2;
      continue;
    }
    const bare = /^[A-Za-z_][A-Za-z0-9_]*/.exec(text.slice(dollar + 1))?.[0];
    if (bare !== undefined) throw new Fault(noValue(`$${bare}`, bare));
    if (text[dollar + 1] !== '{') {
      throw new Fault('has a `$` that begins no variable; write a dollar sign as `$$`');
    }
    const end = closingBrace(text, dollar + 2);
    if (end === undefined) throw new Fault('has a `${` that is not closed; write a dollar sign as `$$`');
    out += variableValue(text.slice(dollar + 2, end), depth);
    at = end + 1;
  }
}

/** The position of the `}` that closes the brace opened before `from`. */
function closingBrace(text: string, from: number): number | undefined {
  let open = 1;
  for (let i = from; i < text.length; i++) {
    if (text[i] === '$' && text[i + 1] === '$') i++;
    else if (text[i] === '$' && text[i + 1] === '{') {
      open++;
      i++;
    } else if (text[i] === '}' && --open === 0) return i;
  }
  return undefined;
}

/** @param inside what stands between the braces */
function variableValue(inside: string, depth: number): string {
  const match = /^([A-Za-z_][A-Za-z0-9_]*)(?:(:?[-+?])([\s\S]*))?$/.exec(inside);
  if (match === null)
    throw new Fault(`has \`\${${short(inside)}}\`, which is not a variable; write a dollar sign as \`$$\``);
  const [, name, operator, rest = ''] = match as unknown as [string, string, string | undefined, string];
  switch (operator?.at(-1)) {
    case '-':
      return replaced(rest, depth + 1);
    case '+':
      return ''; // what stands there is for a variable that is set
    case '?':
      throw new Fault(
        `needs the variable ${name} (${short(rest) || 'it is required'}), and an OBU has no variables; write the value`,
      );
    default:
      throw new Fault(noValue(`\${${name}}`, name));
  }
}

function noValue(written: string, name: string): string {
  return (
    `has \`${written}\`, and an OBU has no variables; write the value, or a default as \`\${${name}:-VALUE}\`, ` +
    `or \`$${written}\` for the program in the container to see \`${written}\``
  );
}

function short(text: string): string {
  return text.length <= 60 ? text : `${text.slice(0, 60)}…`;
}
