import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { declarationNamed, declarationsOf } from './declarations.ts';
import { routeHelp } from './route-help.ts';

const top = join(import.meta.dirname, '../..');

const INTRODUCTION = `A daemon answers HTTP on its control socket: an OBU on \`/run/kerbside/obu.sock\` (another one with \`--api\`), a broker on
\`STATE/broker-ID.sock\`. Only the owner of the socket can open it. With \`api\` in its \`obu.yaml\`, an OBU serves the same routes over TLS 1.3; a broker
with \`--api-listen\`.

\`curl --unix-socket /run/kerbside/obu.sock http://obu/v1/status\`

Answers are JSON unless another type is named. "One in each line" is a stream of JSON texts, one for each line
(\`application/x-ndjson\`). An error is answered with 400 and \`{ "message", "code", "context" }\`, where \`code\` is a number of
[errors](errors.md); 403: this certificate may not; 404: no such route (the answer lists all); 413: the body is above 4 MiB.
Fields and routes are added; a field that is there keeps its name, type and unit.`;

/** The page about the HTTP API. @throws Error when a route has no help, or a help no route */
export function httpPage(): string[] {
  return [
    INTRODUCTION,
    `## Of an OBU\n\n${routeTable('obu')}`,
    `## Of a broker\n\n${routeTable('broker')}`,
    '## What they answer\n\nThe interfaces of `shared/api/`.',
    ...answerSections(),
  ];
}

/** "METHOD /path" of every route that the sources of a room define, in their order. */
export function routesOf(room: 'obu' | 'broker'): string[] {
  const files = readdirSync(join(top, room), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts') && !file.endsWith('.test.ts'))
    .sort();
  const routes = files.flatMap((file) =>
    [...readFileSync(join(top, room, file), 'utf8').matchAll(/^\s*'((?:GET|POST|PUT|PATCH|DELETE) \/[^']*)':/gm)].map(
      (match) => match[1]!,
    ),
  );
  return [...new Set(routes)];
}

function routeTable(room: 'obu' | 'broker'): string {
  const help = routeHelp[room];
  const routes = routesOf(room);
  const missing = routes.filter((route) => help[route] === undefined);
  const stale = Object.keys(help).filter((route) => !routes.includes(route));
  if (missing.length + stale.length > 0) {
    throw new Error(
      `tools/reference/route-help.ts: ${room} lacks [${missing.join(', ')}], and has stale [${stale.join(', ')}]`,
    );
  }
  const rows = Object.entries(help).map(
    ([route, { what, parameters = '', answer }]) => `| \`${route}\` | ${what} | ${parameters} | ${answer} |`,
  );
  return ['| route | what | parameters | answer |', '|---|---|---|---|', ...rows].join('\n');
}

function answerSections(): string[] {
  const sources = ['status.ts', 'manifest.ts', 'obu.ts', 'broker.ts', 'offload-decision.ts'].flatMap((file) =>
    declarationsOf(readFileSync(join(top, 'shared/api', file), 'utf8')),
  );
  const named = Object.values(routeHelp).flatMap((routes) =>
    Object.values(routes).flatMap(({ answer }) => answer.match(/\b[A-Z][a-z]+[A-Z]?\w*\b/g) ?? []),
  );
  // Those that a route answers have to be there; the others are what these are made of.
  for (const name of named) if (!/^(Prometheus)$/.test(name)) declarationNamed(sources, name);
  return sources.map(({ name, text }) => `### ${name}\n\n\`\`\`ts\n${text}\n\`\`\``);
}
