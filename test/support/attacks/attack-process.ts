/**
 * An attack as a process of its own, until its standard input ends.
 * Usage: attack-process.ts NAME URL IDENTITY_DIR TASK_DIGEST. Prints "ready" when it begins.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ATTACKS } from './attacks.ts';

const [name = '', url = '', folder = '', taskDigest = ''] = process.argv.slice(2);
const attack = ATTACKS[name];
if (attack === undefined)
  throw new Error(`there is no attack "${name}"; there are: ${Object.keys(ATTACKS).join(', ')}`);
const read = (file: string) => readFileSync(join(folder, file));
const tls = { cert: read('certificate.pem'), key: read('key.pem'), ca: read('ca.pem'), minVersion: 'TLSv1.3' } as const;
const stop = new AbortController();
process.stdin.on('end', () => stop.abort()).resume();
process.on('SIGTERM', () => stop.abort());
console.log('ready');
await attack({ url, tls, taskDigest }, stop.signal);
process.exit(0);
