import { existsSync, readFileSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';

const ROOMS = ['obu', 'broker', 'shared', 'sim', 'cli', 'test', 'bench', 'examples', 'tools', 'docs', 'bin'];

/** Links of a page that lead to no file, or to no heading of it. Others' sites are not looked at. */
export function brokenLinks(file: string, text: string): string[] {
  const links = [...withoutCode(text).matchAll(/\]\(([^)\s]+)\)/g)].map((match) => match[1]!);
  return links.filter((link) => {
    if (/^[a-z]+:/.test(link)) return false;
    const [path = '', anchor] = link.split('#');
    const target = path === '' ? file : join(dirname(file), path);
    if (path !== '' && !existsSync(target)) return true;
    if (anchor === undefined || statSync(target, { throwIfNoEntry: false })?.isDirectory()) return false;
    const page = path === '' ? text : readFileSync(target, 'utf8');
    return !anchorsOf(page).includes(anchor);
  });
}

/** The anchors of a page's headings, as GitHub makes them. */
function anchorsOf(text: string): string[] {
  const seen = new Map<string, number>();
  const headings = text.replace(/^```[\s\S]*?^```/gm, '').matchAll(/^#{1,6} (.+)$/gm);
  return [...headings].map((match) => {
    const anchor = match[1]!
      .trim()
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\s_-]/gu, '')
      .replace(/\s/g, '-');
    const count = seen.get(anchor) ?? 0;
    seen.set(anchor, count + 1);
    return count === 0 ? anchor : `${anchor}-${count}`;
  });
}

/**
 * Files and folders of this repository that a text names in backquotes and that are not there. Only what begins with a
 * room counts, and ends like a source file or with a slash.
 */
export function missingPaths(top: string, text: string): string[] {
  const named = [...text.matchAll(/`((?:\.\/)?[\w.-]+(?:\/[\w.@-]+)*\/?)`/g)].map((match) => match[1]!);
  return named.filter((path) => {
    const isOurs = ROOMS.includes(path.split('/')[0]!) && path.includes('/');
    return isOurs && /(\/|\.(ts|c|h|S|sh|proto|yaml|json|md|service|dbc))$/.test(path) && !existsSync(join(top, path));
  });
}

function withoutCode(text: string): string {
  return text.replace(/^```[\s\S]*?^```/gm, '').replace(/`[^`\n]*`/g, '');
}
