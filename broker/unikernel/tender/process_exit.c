/* How the process of a call ended: see process_exit.h. */
#define _GNU_SOURCE
#include "process_exit.h"

#include <linux/audit.h>
#include <sys/wait.h>

#include "machine.h"

static void forbidden_call(int64_t number, uint32_t status, uint64_t after, struct ending *ending) {
  ending->signal = SIGSYS;
  ending->signal_code = SYS_SECCOMP;
  ending->fault = status;
  ending->fault_address = (uint64_t)number;
  ending->instruction = after - MACHINE_SYSTEM_CALL_SIZE;
}

void read_fault(const struct kerb_mailbox *mailbox, struct ending *ending) {
  ending->kind = ENDING_FAULT;
  ending->status = 0;
  ending->signal = mailbox->signal;
  ending->signal_code = mailbox->signal_code;
  ending->fault = machine_fault(mailbox);
  ending->fault_address = mailbox->fault_address;
  ending->instruction = mailbox->instruction;
  ending->stack_pointer = mailbox->stack_pointer;
  if (mailbox->signal == SIGSYS) {
    const bool short_table = (mailbox->system_call_machine & __AUDIT_ARCH_64BIT) == 0;
    /* Its address is where the kernel was called from; a call of the vsyscall page returns before the handler runs. */
    forbidden_call(mailbox->system_call, short_table ? KERB_FAULT_SYSTEM_CALL_32 : 0, mailbox->fault_address, ending);
  } else if (machine_is_uretprobe(mailbox)) {
    forbidden_call(MACHINE_URETPROBE, 0, mailbox->instruction, ending);
  }
}

void read_doorbell(int code, struct ending *ending) {
  const struct kerb_mailbox *mailbox = layout_mailbox();
  ending->status = mailbox->status;
  switch (code) {
    case KERB_EXIT_DONE:
      ending->kind = ENDING_DONE;
      ending->output_size = mailbox->output_size;
      return;
    case KERB_EXIT_ABORT:
      ending->kind = ENDING_ABORT;
      return;
    default:
      ending->kind = ENDING_FAULT;
      ending->status = (uint32_t)code;
  }
}

void read_exit(const siginfo_t *exit, struct ending *ending) {
  if (exit->si_code != CLD_EXITED) { /* the kernel's own word: the fault handler did not get to run */
    ending->kind = ENDING_FAULT;
    ending->signal = (uint32_t)exit->si_status;
  } else if (exit->si_status == KERB_EXIT_FAULT) { /* the gate's handler: the guest's word, as far as it goes */
    read_fault(layout_mailbox(), ending);
  } else {
    read_doorbell(exit->si_status, ending);
  }
}
