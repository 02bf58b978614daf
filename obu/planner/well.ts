/**
 * Whether a state is what a person wants in the end: it runs and nothing says that it is ill, or it has done its work. What
 * that says about an update is another question, which depends on who asks.
 */
export function isWellState({ state, detail }: { readonly state: string; readonly detail: string }): boolean {
  return state === 'Succeeded' || (state === 'Running' && detail === 'Ok');
}
