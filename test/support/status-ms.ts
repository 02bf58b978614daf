/** A busy machine may take this long to answer for its status, in milliseconds. */
export const STATUS_MS = 30_000;
