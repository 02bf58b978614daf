/*
 * Isolation `process` only: forges the mailbox and ends as its input says. First byte: the exit code. Then a u64 that is
 * written all over the mailbox.
 */
#include <sys/syscall.h>
#include <system_call.h>

#include "guest.h"

GUEST("mailbox");

TASK {
  uint64_t value = 0;
  memcpy(&value, in + 1, sizeof value);
  for (int i = 0; i < 512; i++) ((volatile uint64_t *)KERB_MAILBOX)[i] = value;
  kerb_system_call(SYS_exit_group, in[0], 0, 0, 0, 0, 0);
  return 0;
}
