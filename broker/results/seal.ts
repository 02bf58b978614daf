/**
 * How outputs, receipts and the facts of a run are written to the disk: as they are. The one place through which all of
 * them go both ways, for encryption at rest.
 */
export interface Seal {
  seal(plain: Uint8Array): Uint8Array;
  /** @throws Error when it was not sealed so */
  open(sealed: Uint8Array): Uint8Array;
}

export const PLAIN: Seal = { seal: (plain) => plain, open: (sealed) => sealed };
