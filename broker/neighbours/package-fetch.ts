import { ErrorCode, isKerbError, KerbError, messageOf } from '../../shared/base/errors.ts';
import type { Logger } from '../../shared/base/log.ts';
import { refusalOf } from '../../shared/base/refusal.ts';
import { isId, isTenant, type VehiclePrincipal } from '../../shared/identity/identity.ts';
import { kerbside } from '../../shared/protocol/generated/v2e.js';
import { isDigest } from '../../shared/task-package/format.ts';
import { decodePush, type FileOffer } from '../../shared/task-package/push-codec.ts';
import type { WithdrawnTask } from '../offloads/offload.ts';
import type { PackageUploads } from '../packages/package-uploads.ts';
import type { PushedPackages } from '../packages/pushed-packages.ts';
import type { NeighbourEvents } from './neighbour-events.ts';
import type { NeighbourLink } from './neighbour-link.ts';
import type { Neighbours } from './neighbours.ts';
import { forbidden, MAX_PIECE, PIECE_MS } from './pieces.ts';

const { NeighbourReply, NeighbourState, PackageNotice, PackageQuery, PieceQuery, PushRequest } = kerbside.v2e;

export interface PackageFetchOptions {
  readonly neighbours: () => Neighbours;
  readonly uploads: Pick<PackageUploads, 'checkMayPush' | 'isThere' | 'reserve' | 'store'>;
  readonly pushed: PushedPackages;
  /** Vehicles that ask for it from now on are told why it is not run here. */
  readonly onRefused: (task: WithdrawnTask) => void;
  readonly events: NeighbourEvents;
  readonly log: Logger;
}

/** Codes that say: not here, whoever sends it. The others may pass. */
const FOR_GOOD: ReadonlySet<number> = new Set([
  ErrorCode.TaskUnsigned,
  ErrorCode.TaskSignerUnknown,
  ErrorCode.TaskSignatureInvalid,
  ErrorCode.TaskSignatureExpired,
  ErrorCode.TaskRevoked,
]);
/** Refused packages that vehicles are told of. */
const MAX_REFUSED = 256;

/**
 * Takes packages that neighbours have: as if the tenant had pushed them here, under its quota, and verified by this broker's own
 * trust. A neighbour that lies about one gains nothing: it costs its own link the time.
 */
export class PackageFetch {
  readonly #options: PackageFetchOptions;
  readonly #refused = new Set<string>();
  /** One package of a neighbour at a time. */
  readonly #busy = new Set<string>();

  constructor(options: PackageFetchOptions) {
    this.#options = options;
  }

  /** The handler of `package`: answers when the package is here, or why it is not. @throws KerbError */
  async notice(neighbour: string, request: Buffer): Promise<Uint8Array> {
    const { tenant, digest, vehicle, name } = PackageNotice.decode(request);
    if (!isTenant(tenant) || !isId(vehicle) || !isDigest(digest)) throw forbidden('its names are not valid');
    const { neighbours, uploads, events } = this.#options;
    if (!neighbours().may(neighbour, tenant, 'packages')) {
      throw new KerbError(
        ErrorCode.PushForbidden,
        `this broker takes no packages of tenant ${tenant} from broker ${neighbour}; whoever runs it allows them in its policy (neighbours)`,
      );
    }
    const client: VehiclePrincipal = { kind: 'vehicle', id: vehicle, tenant, expiresAt: Number.POSITIVE_INFINITY };
    uploads.checkMayPush(client);
    if (this.#busy.has(neighbour))
      throw new KerbError(ErrorCode.QueueFull, 'another package of this neighbour is on its way', {
        retryAfterMs: 1000,
      });
    this.#busy.add(neighbour);
    try {
      const outcome = await this.#fetch(neighbour, digest, client);
      events.fetched('package', neighbour, outcome === 'STORED' ? 'taken' : 'there');
      if (outcome === 'STORED') {
        events.audit({
          event: 'fetch',
          by: `broker ${neighbour}`,
          tenant,
          digest,
          task: name,
          detail: `pushed there by vehicle ${vehicle}`,
        });
      }
      this.#refused.delete(digest);
      return NeighbourReply.encode({
        state: outcome === 'STORED' ? NeighbourState.TAKEN : NeighbourState.THERE,
      }).finish();
    } catch (error) {
      events.fetched('package', neighbour, 'refused');
      throw this.#failed(neighbour, client, digest, name, error);
    } finally {
      this.#busy.delete(neighbour);
    }
  }

  async #fetch(neighbour: string, digest: string, client: VehiclePrincipal): Promise<'STORED' | 'ALREADY_THERE'> {
    const { neighbours, uploads, pushed } = this.#options;
    const link = neighbours().link(neighbour);
    if (link === undefined) throw new KerbError(ErrorCode.BrokerLost, `the neighbour ${neighbour} is not connected`);
    const { tenant } = client;
    const { files: listed } = await link.ask('files', PackageQuery.encode({ tenant, digest }).finish(), PIECE_MS);
    // The same checks as for a push: paths that lead nowhere else, and sizes.
    const step = decodePush(PushRequest.encode({ open: { digest, files: listed?.files ?? [] } }).finish());
    if (step.step !== 'open') throw forbidden('it names no files');
    if (await uploads.isThere(digest, step.files, client)) return 'ALREADY_THERE';
    const total = step.files.reduce((sum, { size }) => sum + size, 0);
    const release = uploads.reserve(digest, total, client);
    try {
      const incoming = await pushed.begin(step.files);
      try {
        let isWhole = false;
        for (const file of step.files) {
          for await (const piece of piecesOf(link, tenant, digest, file)) isWhole = await incoming.write(piece);
        }
        if (!isWhole) throw forbidden('files are missing');
        return (await uploads.store(incoming, digest, client, total)) === 'STORED' ? 'STORED' : 'ALREADY_THERE';
      } finally {
        await incoming.discard();
      }
    } finally {
      release();
    }
  }

  #failed(neighbour: string, { tenant }: VehiclePrincipal, digest: string, name: string, error: unknown): KerbError {
    const problem = isKerbError(error)
      ? error
      : new KerbError(ErrorCode.PackageNotStored, 'this broker could not store the package; try again later');
    this.#options.log.warn(
      { broker: neighbour, tenant, digest, code: problem.code, err: messageOf(error) },
      'a package of a neighbour was not taken',
    );
    if (FOR_GOOD.has(problem.code) && (this.#refused.has(digest) || this.#refused.size < MAX_REFUSED)) {
      this.#refused.add(digest);
      const shown = name.replace(/[^\x20-\x7e]/g, '?').slice(0, 64);
      this.#options.onRefused({ digest, name: shown, why: refusalOf(problem), maySee: (other) => other === tenant });
    }
    return problem;
  }
}

async function* piecesOf(
  link: NeighbourLink,
  tenant: string,
  digest: string,
  { path, size }: FileOffer,
): AsyncGenerator<Buffer> {
  for (let offset = 0; offset < size; ) {
    const length = Math.min(MAX_PIECE, size - offset);
    const query = { tenant, package: { digest, path }, offset, size: length };
    const { data } = await link.ask('piece', PieceQuery.encode(query).finish(), PIECE_MS);
    if (data == null || data.length !== length) throw forbidden('a piece has another length than it was asked for');
    offset += length;
    yield Buffer.from(data);
  }
}
