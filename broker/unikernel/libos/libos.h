/* What the parts of the libOS know of each other; tasks see only kerbside/task.h. */
#ifndef KERBSIDE_LIBOS_H
#define KERBSIDE_LIBOS_H

#include <kerbside/task.h>
#include <stdarg.h>

/* The four doorbells. How they are rung is all that differs between isolations: one such table for each. */
struct kerb_doorbells {
  void (*ready)(void);
  void (*done)(uint32_t status, uint64_t output_size) __attribute__((noreturn));
  void (*abort)(uint32_t code) __attribute__((noreturn));
  void (*log)(const void *text, size_t size);
};

extern const struct kerb_doorbells kerb_doorbells_process, kerb_doorbells_vm;

/* Chooses the table that the info page asks for; stops the guest when there is none. */
void kerb_doorbells_bind(uint32_t isolation);
const struct kerb_doorbells *kerb_doorbells(void);

void kerb_heap_init(uintptr_t start, size_t size);
/* Takes all of the arena but `kept` bytes out of malloc()'s hands; it is zero, and `*size` bytes long (maybe none). */
void *kerb_heap_rest(size_t kept, size_t *size);

/* Logs what of a line was said in single characters. */
void kerb_stdio_flush(void);

/* As kerb_logf; returns what vsnprintf does. */
int kerb_vlogf(const char *format, va_list arguments);

/*
 * Of the processor. Sets up the thread control block and returns where the TLS block of so many bytes and this alignment
 * starts; and sets what the compiler's stack protector compares with.
 */
void *kerb_thread_block(size_t size, size_t align);
void kerb_set_canary(uint64_t canary);

void kerb_start(const struct kerb_info *info) __attribute__((noreturn));

#endif
