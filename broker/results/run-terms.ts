/** The terms of all callers of one run together. */
export interface RunTerms {
  keepMs: number;
  durable: boolean;
  wantReceipt: boolean;
}

/** One more caller: the result is kept for whoever wants it longest. */
export function addTerms(terms: RunTerms, { keepMs, durable, wantReceipt }: RunTerms): void {
  terms.keepMs = Math.max(terms.keepMs, keepMs);
  terms.durable ||= durable;
  terms.wantReceipt ||= wantReceipt;
}

/** @param met the same terms, before others joined */
export function wantMore(terms: RunTerms, met: RunTerms): boolean {
  return terms.keepMs > met.keepMs || terms.durable !== met.durable || terms.wantReceipt !== met.wantReceipt;
}
