/**
 * Vehicles that are connected and ask for nothing, each with a certificate of its own, as a process of its own, until its
 * standard input ends. Usage: idle-vehicles.ts COUNT URL AUTHORITY_DIR TENANT. Prints how many were let in, then waits.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { issueCertificate } from '../../../shared/identity/authority.ts';
import { RawVehicle } from './raw-vehicle.ts';

const [count = '0', url = '', authorityDir = '', tenant = ''] = process.argv.slice(2);
const AT_ONCE = 8;
const read = (file: string) => readFileSync(join(authorityDir, file), 'utf8');
const authority = { certificate: read('certificate.pem'), key: read('key.pem') };
const vehicles: RawVehicle[] = [];
let next = 0;
let why = '';
await Promise.all(
  Array.from({ length: AT_ONCE }, async () => {
    while (next < Number(count) && why === '') {
      const own = await issueCertificate(authority, { kind: 'vehicle', id: `idle-${next++}`, tenant });
      const tls = { cert: own.certificate, key: own.key, ca: authority.certificate };
      await RawVehicle.connect(url, tls).then(
        (vehicle) => vehicles.push(vehicle),
        (error: Error) => {
          why = error.message;
        },
      );
    }
  }),
);
console.log(JSON.stringify({ connected: vehicles.filter(({ connected }) => connected).length, why }));
process.stdin.on('end', () => process.exit(0)).resume();
