import packageJson from '../../package.json' with { type: 'json' };

/** The version of everything that is built from this repository. */
export const VERSION: string = packageJson.version;
