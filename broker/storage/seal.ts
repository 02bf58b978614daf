import { createCipheriv, createDecipheriv, createHash, randomBytes } from 'node:crypto';

/**
 * How values, outputs, receipts and the facts of a run are written to the disk. The one place through which all of them go
 * both ways. `context` names the place of the bytes, so that those of another place are not taken for them.
 */
export interface Seal {
  seal(plain: Uint8Array, context: string): Uint8Array;
  /** @throws Error when it was not sealed so */
  open(sealed: Uint8Array, context: string): Uint8Array;
  /** True when it is as `seal` would write it now: with the newest key, or with none. */
  isCurrent(sealed: Uint8Array): boolean;
}

/** Of a sealed text: magic, id of the key, nonce, ciphertext, tag. */
const MAGIC = Buffer.from('KerbSea1', 'latin1');
const ID_BYTES = 8;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const HEAD_BYTES = MAGIC.length + ID_BYTES + NONCE_BYTES;
export const KEY_BYTES = 32;

/** In front of a plain text that looks like one of these, whoever wrote it. */
const ESCAPE = Buffer.from('KerbPln1', 'latin1');

/** As it is. What was sealed with a key cannot be read. */
export const PLAIN: Seal = {
  seal: (plain) => (startsWith(plain, MAGIC) || startsWith(plain, ESCAPE) ? Buffer.concat([ESCAPE, plain]) : plain),
  open: (sealed) => {
    if (isSealed(sealed)) throw new Error('it is encrypted, and there is no key');
    return startsWith(sealed, ESCAPE) ? sealed.subarray(ESCAPE.length) : sealed;
  },
  isCurrent: (sealed) => !isSealed(sealed),
};

/** Says which key it is, and nothing about the key. */
export function keyId(key: Uint8Array): string {
  return createHash('sha256')
    .update('kerbside storage key\n')
    .update(key)
    .digest('hex')
    .slice(0, 2 * ID_BYTES);
}

/**
 * AES-256-GCM with a new nonce each time.
 * @param keys of 32 bytes: it seals with the first, and opens with each of them, and what was never sealed
 */
export function sealWith(keys: readonly Uint8Array[]): Seal {
  const byId = new Map(keys.map((key) => [keyId(key), key]));
  const [current] = keys;
  if (current === undefined) return PLAIN;
  const head = Buffer.concat([MAGIC, Buffer.from(keyId(current), 'hex')]);
  return {
    seal: (plain, context) => {
      const nonce = randomBytes(NONCE_BYTES);
      const cipher = createCipheriv('aes-256-gcm', current, nonce).setAAD(Buffer.from(context));
      return Buffer.concat([head, nonce, cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
    },
    open: (sealed, context) => {
      if (!isSealed(sealed)) return PLAIN.open(sealed, context);
      const id = hexOf(sealed);
      const key = byId.get(id);
      if (key === undefined) throw new Error(`it is encrypted with key ${id}, which is not there`);
      const nonce = sealed.subarray(HEAD_BYTES - NONCE_BYTES, HEAD_BYTES);
      const end = sealed.length - TAG_BYTES;
      const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG_BYTES });
      decipher.setAAD(Buffer.from(context)).setAuthTag(sealed.subarray(end));
      return Buffer.concat([decipher.update(sealed.subarray(HEAD_BYTES, end)), decipher.final()]);
    },
    isCurrent: (sealed) => startsWith(sealed, head),
  };
}

function isSealed(bytes: Uint8Array): boolean {
  return bytes.length >= HEAD_BYTES + TAG_BYTES && startsWith(bytes, MAGIC);
}

function startsWith(bytes: Uint8Array, head: Uint8Array): boolean {
  return Buffer.compare(bytes.subarray(0, head.length), head) === 0;
}

function hexOf(sealed: Uint8Array): string {
  return Buffer.from(sealed.subarray(MAGIC.length, MAGIC.length + ID_BYTES)).toString('hex');
}
