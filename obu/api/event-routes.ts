import { type ControlRoutes, jsonReply, linesReply } from '../../shared/api/control-routes.ts';
import type { EventLog } from '../telemetry/event-log.ts';
import { isFollowed, wholeNumber } from './query.ts';

export function eventRoutes(events: EventLog): ControlRoutes {
  return {
    'GET /v1/events': ({ query, signal }) => {
      const [after, name] = [wholeNumber(query, 'after', 0), query.get('name') ?? undefined];
      if (isFollowed(query)) return linesReply(events.follow(after, name, signal));
      return jsonReply(events.list(after, name));
    },
  };
}
