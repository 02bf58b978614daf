import { type KeyObject, sign } from 'node:crypto';
import { messageOf } from '../../shared/base/errors.ts';
import type { Logger } from '../../shared/base/log.ts';
import type { Identity } from '../../shared/identity/identity.ts';
import { kerbside } from '../../shared/protocol/generated/v2e.js';
import { leafHash, merkleTree } from '../../shared/protocol/merkle.ts';
import { digestOfKey, type ReceiptFacts, signedBytes } from '../../shared/v2e-client/receipt.ts';
import type { SignedReceipt } from '../offloads/offload.ts';

const { Receipt } = kerbside.v2e;

/** A way of 10 hashes. */
const MAX_BATCH = 1024;

interface Waiting {
  readonly bytes: Uint8Array;
  readonly leaf: Buffer;
  readonly resolve: (receipt: SignedReceipt | undefined) => void;
}

export interface ReceiptSignerOptions {
  readonly identity: Identity;
  /** So many have been signed with one signature, or could not be. */
  readonly onSigned: (receipts: number, ok: boolean) => void;
  readonly log: Logger;
}

/**
 * Signs receipts with the key of the broker, on a thread of Node's pool. While one signature is made, the receipts that
 * come are gathered, and the next signature is for all of them: one that is alone does not wait, and many cost one
 * signature.
 */
export class ReceiptSigner {
  readonly #options: ReceiptSignerOptions;
  #key: KeyObject | undefined;
  #digest: 'sha256' | null = null;
  #certificate: Buffer = Buffer.alloc(0);
  #waiting: Waiting[] = [];
  #isSigning = false;

  constructor(options: ReceiptSignerOptions) {
    this.#options = options;
    this.renew(options.identity);
  }

  /** Why it cannot sign; empty: it can. */
  get why(): string {
    return this.#key === undefined ? 'the key of this broker is of a type that does not sign' : '';
  }

  /** Receipts that are not signed yet are signed with this identity. */
  renew(identity: Identity): void {
    const { key, certificate } = identity.signingKey();
    const digest = digestOfKey(key);
    this.#key = digest === undefined ? undefined : key;
    this.#digest = digest ?? null;
    this.#certificate = certificate;
  }

  /** Undefined: it could not be signed. */
  sign(facts: ReceiptFacts): Promise<SignedReceipt | undefined> {
    const bytes = Receipt.encode(facts).finish();
    return new Promise((resolve) => {
      this.#waiting.push({ bytes, leaf: leafHash(bytes), resolve });
      if (!this.#isSigning) this.#signNext();
    });
  }

  #signNext(): void {
    const batch = this.#waiting.splice(0, MAX_BATCH);
    if (batch.length === 0) return;
    const certificate = this.#certificate;
    const { root, paths } = merkleTree(batch.map(({ leaf }) => leaf));
    const done = (error: unknown, signature: Uint8Array | undefined): void => {
      this.#isSigning = false;
      this.#options.onSigned(batch.length, signature !== undefined);
      if (signature === undefined) {
        this.#options.log.error({ err: messageOf(error), count: batch.length }, 'receipts could not be signed');
      }
      for (const [leaf, { bytes, resolve }] of batch.entries()) {
        const path = [...paths[leaf]!];
        const signed = { receipt: bytes, certificate, leaf, leaves: batch.length, path };
        resolve(signature === undefined ? undefined : { ...signed, signature });
      }
      this.#signNext();
    };
    if (this.#key === undefined) {
      done(this.why, undefined);
      return;
    }
    this.#isSigning = true;
    sign(this.#digest, signedBytes(root), this.#key, (error, signature) => done(error, error ? undefined : signature));
  }
}
