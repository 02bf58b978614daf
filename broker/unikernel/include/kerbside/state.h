/*
 * A task with the state of a session: the broker hands it over with the input, and keeps the next one with the output.
 * task.yaml declares it, too: `state: { max: 64 }` (bytes; also `ttl: 1h`, after which it goes when it is not written).
 *
 *   #include <kerbside/state.h>
 *
 *   KERB_TASK("counter", .memory = 1 << 20, .max_input = KERB_WITH_STATE(64, 256), .max_output = KERB_WITH_STATE(64, 64));
 *   KERB_STATE_TASK(64)
 *
 *   int kerb_state_task(struct kerb_state *state, const uint8_t *in, size_t in_size, uint8_t *out, size_t out_capacity,
 *                       size_t *out_size) { … }
 *
 * The format, version 1, is in front of input and output: struct kerb_state_header, the state, filled up to a multiple of 16
 * bytes, then input or output (shared/task-package/state-frame.ts has the other end).
 */
#ifndef KERBSIDE_STATE_H
#define KERBSIDE_STATE_H

#include <kerbside/task.h>
#include <string.h>

#define KERB_STATE_MAGIC 0x3154534bu /* "KST1", little-endian */

struct kerb_state_header {
  uint32_t magic;
  uint32_t what;       /* in: 0 there is none yet, 1 there is. Out: enum kerb_state_change */
  uint32_t state_size; /* of the state, which begins behind this header */
  uint32_t at;         /* where input or output begin */
};

enum kerb_state_change { KERB_STATE_KEEP = 0, KERB_STATE_SET = 1, KERB_STATE_REMOVE = 2 };

#define KERB_STATE_ROOM(max) (sizeof(struct kerb_state_header) + (((size_t)(max) + 15) & ~(size_t)15))
/* What .max_input and .max_output are for a state of `max` bytes beside `bytes` of input or output. */
#define KERB_WITH_STATE(max, bytes) (KERB_STATE_ROOM(max) + (bytes))

struct kerb_state {
  const uint8_t *value; /* as it is; NULL: there is none yet */
  size_t size;
  uint8_t *next;   /* where the next one goes */
  size_t capacity; /* the declared max */
  size_t next_size;
  enum kerb_state_change change; /* KERB_STATE_KEEP until the task says otherwise */
};

/* As kerb_task, with the state. Returning anything but 0 changes nothing. */
int kerb_state_task(struct kerb_state *state, const uint8_t *in, size_t in_size, uint8_t *out, size_t out_capacity,
                    size_t *out_size);

/* Used once, at file scope: the task of this image is kerb_state_task, with a state of at most `max` bytes. */
#define KERB_STATE_TASK(max)                                                                                          \
  int kerb_task(const uint8_t *in, size_t in_size, uint8_t *out, size_t out_capacity, size_t *out_size) {             \
    struct kerb_state_header head;                                                                                    \
    size_t room = KERB_STATE_ROOM(max), result = 0;                                                                   \
    if (in_size < sizeof head) return kerb_refuse(1, "it came without a state");                                      \
    memcpy(&head, in, sizeof head);                                                                                   \
    if (head.magic != KERB_STATE_MAGIC || head.at > in_size || head.at < sizeof head ||                               \
        head.state_size > head.at - sizeof head)                                                                      \
      return kerb_refuse(1, "it came without a state");                                                               \
    if (out_capacity < room) return kerb_refuse(1, ".max_output has no room for a state of %d bytes", (int)(max));    \
    struct kerb_state state = {head.what == 0 ? NULL : in + sizeof head, head.state_size, out + sizeof head, (max),   \
                               0, KERB_STATE_KEEP};                                                                   \
    int status = kerb_state_task(&state, in + head.at, in_size - head.at, out + room, out_capacity - room, &result);  \
    if (status != 0) return status;                                                                                   \
    if (state.next_size > (max)) return kerb_refuse(1, "a state of %zu bytes is too large", state.next_size);         \
    if (result > out_capacity - room) return kerb_refuse(1, "an output of %zu bytes is too large", result);           \
    head = (struct kerb_state_header){KERB_STATE_MAGIC, state.change,                                                 \
                                      state.change == KERB_STATE_SET ? (uint32_t)state.next_size : 0, (uint32_t)room};\
    memcpy(out, &head, sizeof head);                                                                                  \
    *out_size = room + result;                                                                                        \
    return 0;                                                                                                         \
  }                                                                                                                   \
  int kerb_state_task(struct kerb_state *, const uint8_t *, size_t, uint8_t *, size_t, size_t *)

#endif
