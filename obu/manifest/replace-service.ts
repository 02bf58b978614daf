import { parse, stringify } from 'yaml';

/**
 * A manifest in which one service is as another manifest has it. Both have to be good ones; what they share by anchors is
 * written out, so that neither depends on the other, and comments are lost.
 */
export function replaceService(text: string, service: string, from: string): string {
  const read = (source: string) =>
    parse(source, { merge: true, maxAliasCount: 100, intAsBigInt: true, stringKeys: true }) as { services: object };
  const manifest = read(text);
  const other = read(from).services as Record<string, unknown>;
  return stringify(
    { ...manifest, services: { ...manifest.services, [service]: other[service] } },
    // In quotes a text stays one, whatever it looks like.
    { aliasDuplicateObjects: false, defaultStringType: 'QUOTE_DOUBLE', defaultKeyType: 'PLAIN', lineWidth: 0 },
  );
}
