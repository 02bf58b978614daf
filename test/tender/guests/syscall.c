/* Makes the system call that its input names: seven u64, the number and six arguments. Answers with the result. */
#include <system_call.h>

#include "guest.h"

GUEST("syscall");

TASK {
  uint64_t call[7] = {0};
  memcpy(call, in, in_size < sizeof call ? in_size : sizeof call);
  const long result = kerb_system_call(call[0], call[1], call[2], call[3], call[4], call[5], call[6]);
  ANSWER("%ld", result);
  return 0;
}
