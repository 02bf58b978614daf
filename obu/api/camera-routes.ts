import type { ControlRoutes } from '../../shared/api/control-routes.ts';
import { ErrorCode, KerbError } from '../../shared/base/errors.ts';
import { takeSnapshot } from '../dashcam/capture/snapshot.ts';
import type { PartsOf } from './parts.ts';

export function cameraRoutes(parts: PartsOf): ControlRoutes {
  return {
    'GET /v1/cameras/:name/snapshot': async ({ params }) => {
      const { cameras } = parts();
      const own = cameras.find(({ camera }) => camera.name === params.name);
      if (own !== undefined) return { type: 'image/jpeg', body: (await takeSnapshot(own.camera)).data };
      const known = cameras.map(({ camera }) => camera.name).join(', ') || 'none at all';
      throw new KerbError(ErrorCode.UnknownCamera, `this OBU has no camera "${params.name}"; it has ${known}`, {
        camera: params.name,
      });
    },
  };
}
