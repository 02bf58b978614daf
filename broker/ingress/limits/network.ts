const MAPPED = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i;

/** By what clients are counted: of IPv6 the first half, because whoever has one address there has 2^64 of them. */
export function networkOf(address: string): string {
  const mapped = MAPPED.exec(address)?.[1];
  if (mapped !== undefined) return mapped;
  if (!address.includes(':')) return address;
  const [front = '', back = ''] = address.split('%')[0]!.split('::');
  const groups = groupsOf(front);
  if (address.includes('::')) {
    const rest = groupsOf(back);
    while (groups.length + rest.length < 8) groups.push('0');
    groups.push(...rest);
  }
  return groups.slice(0, 4).join(':');
}

/** Each as a number, so that `00a` and `A` are the same. */
function groupsOf(part: string): string[] {
  return part
    .split(':')
    .filter((group) => group !== '')
    .map((group) => Number.parseInt(group, 16).toString(16));
}
