/** Kinds of places where an offload may run, nearest first. */
export const PLACE_KINDS = ['here', 'peer', 'vehicle', 'roadside', 'cell', 'cloud'] as const;
export type PlaceKind = (typeof PLACE_KINDS)[number];

export function isPlaceKind(text: unknown): text is PlaceKind {
  return (PLACE_KINDS as readonly unknown[]).includes(text);
}
