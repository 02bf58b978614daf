import type { Request, Sender } from './limits/senders.ts';
import type { TurnRules } from './limits/turns.ts';
import { isPiece } from './transfers/transfers.ts';

/** Chunks and credits are paid for by what was allowed before, and count as no requests. */
export const TURN_RULES: TurnRules<Sender, Request> = {
  turnOf: ({ turn }) => turn,
  hindrance: (sender, { message }, now) => (isPiece(message) ? '' : sender.hindrance(message.length, now)),
  mayRead: (sender) => !sender.isSlow,
  handle: (sender, request, quota) => {
    if (quota === '' && !isPiece(request.message)) sender.countRequest(request.arrivedAt);
    request.source.handle(request, quota);
  },
};
