import { type ControlRoutes, jsonReply } from '../../shared/api/control-routes.ts';
import { type EventLog, eventsRoute } from '../../shared/api/event-log.ts';
import { cameraRoutes } from './camera-routes.ts';
import { manifestRoutes } from './manifest-routes.ts';
import type { PartsOf } from './parts.ts';
import { signalRoutes } from './signal-routes.ts';
import { readStatus } from './status.ts';
import { usageOfAll, workloadRoutes } from './workload-routes.ts';

/** All that the control API of an OBU answers, on its socket and over TLS. */
export function obuRoutes(parts: PartsOf, events: EventLog): ControlRoutes {
  return {
    'GET /v1/status': () => jsonReply(readStatus(parts())),
    'GET /metrics': async () => {
      const all = parts();
      const { metrics, buses } = all;
      return {
        type: metrics.contentType,
        body: await metrics.text(
          readStatus(all),
          buses.map(({ config, bus }) => ({ name: config.name, bus })),
          await usageOfAll(all),
        ),
      };
    },
    ...manifestRoutes(parts),
    ...workloadRoutes(parts),
    'GET /v1/events': eventsRoute(events),
    ...signalRoutes(parts),
    ...cameraRoutes(parts),
  };
}
