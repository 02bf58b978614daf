/** The sources of a program in few files, for a kernel that reads files slowly. */
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { rolldown } from 'rolldown';

/**
 * Each module keeps the place of its source: what is beside it is found, and native add-ons are loaded from there.
 *
 * @param folder it is made, and what is in it belongs to this bundle
 * @returns the file to run
 */
export async function bundle(main: string, folder: string): Promise<string> {
  const places = {
    name: 'places',
    transform(code: string, id: string) {
      if (!code.includes('import.meta.')) return;
      return code
        .replaceAll('import.meta.dirname', JSON.stringify(dirname(id)))
        .replaceAll('import.meta.url', JSON.stringify(pathToFileURL(id).href))
        .replaceAll('import.meta.main', String(id === main));
    },
  };
  const made = await rolldown({ input: main, platform: 'node', external: ['socketcan'], plugins: [places] });
  try {
    await made.write({ dir: folder, format: 'esm', entryFileNames: 'main.mjs' });
  } finally {
    await made.close();
  }
  return join(folder, 'main.mjs');
}
