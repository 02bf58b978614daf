/* Counts its calls, for each key of a session. The output is the number as text; an input "reset" begins anew. */
#include <kerbside/state.h>
#include <stdio.h>

#define MAX_STATE 8

KERB_TASK("counter", .memory = 1 << 20, .max_input = KERB_WITH_STATE(MAX_STATE, 64),
          .max_output = KERB_WITH_STATE(MAX_STATE, 32));
KERB_STATE_TASK(MAX_STATE);

int kerb_state_task(struct kerb_state *state, const uint8_t *in, size_t in_size, uint8_t *out, size_t out_capacity,
                    size_t *out_size) {
  uint64_t count = 0;
  if (in_size == 5 && memcmp(in, "reset", 5) == 0) {
    state->change = KERB_STATE_REMOVE;
  } else {
    if (state->value != NULL && state->size != sizeof count) return kerb_refuse(2, "the state is none of a counter");
    if (state->value != NULL) memcpy(&count, state->value, sizeof count);
    count++;
    memcpy(state->next, &count, sizeof count);
    state->next_size = sizeof count;
    state->change = KERB_STATE_SET;
  }
  *out_size = (size_t)snprintf((char *)out, out_capacity, "%llu", (unsigned long long)count);
  return 0;
}
