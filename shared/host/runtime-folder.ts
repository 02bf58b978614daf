import { userInfo } from 'node:os';
import { join } from 'node:path';

/**
 * The folder for sockets and other runtime files: `/run/kerbside` for root, else `kerbside` in the session's
 * XDG_RUNTIME_DIR, else `~/.kerbside/run`. Never below /tmp, where another user can make the folder first.
 */
export function runtimeFolder(
  { uid, homedir }: { readonly uid: number; readonly homedir: string } = userInfo(),
  session: string | undefined = process.env.XDG_RUNTIME_DIR,
): string {
  if (uid === 0) return '/run/kerbside';
  return session ? join(session, 'kerbside') : join(homedir, '.kerbside', 'run');
}
