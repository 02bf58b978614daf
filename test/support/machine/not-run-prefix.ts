/** How each line begins that says what was not run; apart because the reporter cannot import what imports vitest. */
export const NOT_RUN = 'not run: ';
