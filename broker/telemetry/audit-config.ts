/** The audit log of a broker. */
export interface AuditConfig {
  readonly file: string;
  readonly maxBytes: number;
  /** How many older files are kept. */
  readonly keep: number;
  /** With the SHA-256 of each input. */
  readonly hashInputs: boolean;
}
