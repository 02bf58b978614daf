export interface BackOff {
  /** The wait after the first failure, in milliseconds. */
  readonly firstMs: number;
  /** No wait is longer. */
  readonly longestMs: number;
}

/**
 * How long to wait before the next try, in milliseconds: twice as long after each further failure.
 * @param failures in a row; after none the next try comes at once
 */
export function backOffMs(failures: number, { firstMs, longestMs }: BackOff): number {
  return failures < 1 ? 0 : Math.min(longestMs, firstMs * 2 ** (failures - 1));
}
