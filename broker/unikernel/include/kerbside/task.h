/*
 * What the author of a task includes. A task is one function, bytes in and bytes out:
 *
 *   #include <kerbside/task.h>
 *
 *   KERB_TASK("invert", .memory = 1 << 20, .max_input = 65536, .max_output = 65536);
 *
 *   int kerb_task(const uint8_t *in, size_t in_size, uint8_t *out, size_t out_capacity, size_t *out_size) {
 *     for (size_t i = 0; i < in_size; i++) out[i] = (uint8_t)~in[i];
 *     *out_size = in_size;
 *     return 0;
 *   }
 *
 * Each call starts in a memory image that no earlier call has touched: globals have their initial values, the heap is
 * empty. There is no clock, file, thread, network or second input. printf, puts and what writes to stderr go to the log of
 * the call. What else links: string, ctype, stdlib, math, snprintf,
 * sscanf and regex of musl, malloc, and Debian's static libraries as far as they need no more than that.
 */
#ifndef KERBSIDE_TASK_H
#define KERBSIDE_TASK_H

#include <kerbside/abi.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * The task. `in` holds `in_size` bytes (at most the declared max_input) and is read-only; `out` has room for
 * `out_capacity` bytes (the declared max_output), all zero. Sets *out_size (0 when untouched). Both are aligned to a page.
 * Returns 0, or a status from 1 to 2147483647 of its own to refuse its input; the caller gets that number and, as the
 * sentence that says why, the last line that the call has logged (200 characters at most): see kerb_refuse.
 */
int kerb_task(const uint8_t *in, size_t in_size, uint8_t *out, size_t out_capacity, size_t *out_size);

/* As printf does. Adds to the log of this call, which holds KERB_MAX_LOG bytes; what does not fit is dropped. */
void kerb_log(const char *text, size_t size);
void kerb_logf(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* `return kerb_refuse(3, "%zu bytes are too few", in_size);` refuses the input with a status and a sentence for its caller. */
#define kerb_refuse(status, ...) (kerb_logf(__VA_ARGS__), kerb_log("\n", 1), (int)(status))

/* Ends the call at once: the caller gets `code` (below KERB_ABORT_LIBOS) and no output. */
void kerb_abort(uint32_t code) __attribute__((noreturn));

/* 32 random bytes, fresh for this call; and the coarse wall clock at its start (ms since 1970), which stands still. */
const uint8_t *kerb_seed(void);
uint64_t kerb_time_ms(void);

#ifdef __cplusplus
}
#endif

#define KERB_NOTE(ident, section_name, note_type, descriptor_type, ...)                               \
  struct ident##_t {                                                                                  \
    uint32_t owner_size, descriptor_size, type;                                                       \
    char owner[12];                                                                                   \
    descriptor_type descriptor;                                                                       \
  } __attribute__((packed, aligned(4)));                                                              \
  extern const struct ident##_t ident;                                                                \
  __attribute__((used, aligned(4), section(section_name))) const struct ident##_t ident = {                       \
      KERB_NOTE_OWNER_SIZE, sizeof(descriptor_type), note_type, KERB_NOTE_OWNER, {__VA_ARGS__}}

/*
 * Declares the task: its name ([a-z0-9-], at most 63), and .memory, .max_input, .max_output in bytes; C++ wants them in this order.
 * `memory` counts data, TLS, the stack (256 KiB) and the heap. Used once, at file scope.
 */
#define KERB_TASK(task_name, ...)                                                                             \
  KERB_NOTE(kerb_note_abi_, ".note.kerbside.abi", KERB_NOTE_ABI, struct kerb_note_abi, KERB_TARGET,           \
            KERB_ABI_VERSION);                                                                                \
  KERB_NOTE(kerb_note_manifest_, ".note.kerbside.manifest", KERB_NOTE_MANIFEST, struct kerb_note_manifest,    \
            __VA_ARGS__, .name = task_name)

#endif
