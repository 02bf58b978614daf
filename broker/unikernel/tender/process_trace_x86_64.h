/*
 * ptrace(2) as far as a kept guest (process_kept_x86_64.c) needs it: on its own child, which has asked for it. What is asked of
 * one that was killed meanwhile fails with ESRCH.
 */
#ifndef KERBSIDE_TENDER_PROCESS_TRACE_X86_64_H
#define KERBSIDE_TENDER_PROCESS_TRACE_X86_64_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/user.h>

#include "layout.h"

#define TRACE_VECTORS_MAX 0x10000
#define TRACE_OPTIONS (PTRACE_O_TRACESECCOMP | PTRACE_O_EXITKILL)
/* What `waitid` says of one that its filter has stopped. */
#define TRACE_STOP_AT_CALL (SIGTRAP | PTRACE_EVENT_SECCOMP << 8)

/* The XSAVE area in its standard form, in as many bytes as the kernel gives. */
struct trace_vectors {
  size_t size;
  uint8_t area[TRACE_VECTORS_MAX] __attribute__((aligned(64)));
};

long trace(long request, pid_t pid, unsigned long address, void *data);
bool trace_read_vectors(pid_t pid, struct trace_vectors *vectors);
bool trace_write_vectors(pid_t pid, struct trace_vectors *vectors);

/* In the new process: it stops for its tracer, who says then what it wants to hear of. */
bool trace_me(const struct guest *guest);

#endif
