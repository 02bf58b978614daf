/*
 * The first and only program of an emulated arm64 machine (run.sh): starts kerb-tender, as it is installed, with guests that
 * try to get out of their seal.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

#include "../kernel/peer.h"

static void system_call(uint64_t number, uint64_t a, uint64_t b, uint64_t c) {
  const uint64_t words[] = {number, a, b, c};
  call(words, sizeof words, 5000);
}

/* The last call ended as one that made this system call and may not. */
static int forbidden(uint64_t number) { return killed_by(SIGSYS, SYS_SECCOMP) && outcome->fault_address == number; }

static void check_seal(void) {
  start("/kerb-tender", "/guests/syscall.elf", "process");
  unsigned let_through = 0;
  for (uint64_t number = 0; number < 1024; number++) {
    if (number == SYS_write || number == SYS_exit_group) continue;
    system_call(number, 0, 0, 0);
    if (forbidden(number)) continue;
    printf("        system call %llu is let through\n", (unsigned long long)number);
    let_through++;
  }
  check(let_through == 0, "of 1024 system calls all but write and exit_group are forbidden, and reported with their number");
  let_through = 0;
  system_call(SYS_write, KERB_LOG_FD, KERB_GUEST_START, 5);
  check(strcmp(output(), "5") == 0 && outcome->log_size == 5, "the log may be written");
  for (uint64_t fd = 1; fd < 10; fd++) {
    system_call(SYS_write, fd, KERB_GUEST_START, 5);
    if (!forbidden(SYS_write)) let_through++;
  }
  system_call(SYS_write, 1ull << 32, KERB_GUEST_START, 5);
  check(let_through == 0 && forbidden(SYS_write), "no other descriptor may, whose number is checked in full");
  let_through = 0;
  static const uint64_t outside[] = {0, KERB_GUEST_END, 0x555555555000, 0xffffffffd000, 0xffff800008000000};
  for (size_t i = 0; i < sizeof outside / sizeof *outside; i++) {
    system_call(SYS_write, KERB_LOG_FD, outside[i], 64);
    if (strcmp(output(), "-14") != 0 || outcome->log_size != 0) let_through++; /* EFAULT */
  }
  check(let_through == 0, "the log cannot be made to read outside the guest");
}

static void check_faults(void) {
  static const uint64_t nothing_there[] = {0xff000, 0x20000ff8, 0x20041000, KERB_GUEST_END, 0x555555555000, 0xffffffffd000,
                                           0xffff888000000000};
  static const uint64_t read_only[] = {0, KERB_INFO, KERB_INPUT, KERB_GATE};
  unsigned wrong = 0;
  start("/kerb-tender", "/guests/write-to.elf", "process");
  for (size_t i = 0; i < sizeof read_only / sizeof *read_only; i++) {
    call(&read_only[i], 8, 5000);
    wrong += !killed_by(SIGSEGV, 2) || (outcome->status & ~0x3fu) != (KERB_FAULT_SYNDROME | 0x240040);
  }
  check(wrong == 0, "text, info page, input and gate are read-only, and the syndrome says data abort, write");
  wrong = 0;
  for (size_t i = 0; i < sizeof nothing_there / sizeof *nothing_there; i++) {
    call(&nothing_there[i], 8, 5000);
    wrong += !killed_by(SIGSEGV, 1) || (i < 6 && outcome->fault_address != nothing_there[i]);
  }
  check(wrong == 0, "nothing of the tender, the vDSO or the kernel is left around the guest");

  start("/kerb-tender", "/guests/jump-to.elf", "process");
  call("", 0, 5000);
  check(killed_by(SIGSEGV, 2) && outcome->status >> 16 == (KERB_FAULT_SYNDROME | 0x200000) >> 16,
        "data cannot be executed, and the syndrome says instruction abort");

  start("/kerb-tender", "/guests/instruction.elf", "process");
  wrong = 0;
  for (const char *letter = "hcpmvVus"; *letter != 0; letter++) {
    call(letter, 1, 5000);
    wrong += !killed_by(SIGILL, 1);
  }
  check(wrong == 0, "privileged instructions, hvc and smc are illegal ones");
  call("b", 1, 5000);
  check(killed_by(SIGTRAP, 1), "brk is a breakpoint");
  call("S", 1, 5000);
  check(killed_by(SIGSEGV, 0), "a fault that cannot be reported ends the guest");
  call("t", 1, 5000);
  check(counter_readable ? outcome->kind == KERB_OUTCOME_DONE : killed_by(SIGSEGV, 128),
        "the virtual counter is readable only where the tender says so");

  start("/kerb-tender", "/guests/loop.elf", "process");
  call("", 0, 60);
  check(outcome->kind == KERB_OUTCOME_DEADLINE && outcome->log_size == 8, "an endless loop ends at its deadline");
}

static void check_leaks(void) {
  start("/kerb-tender", "/guests/leak.elf", "process");
  check(leaks(150, "fXF", 5000, 900000) == 0, "150 calls that filled memory and registers and ended, faulted or were killed leave nothing");
  leak_call('d', ~0x9e3779b97f4a7c15ull, 5000);
  check(output()[0] == 8, "and what they would leave is found");
}

int main(void) {
  set_up_root();
  check(start("/kerb-tender", "/guests/hello.elf", "auto") == KERB_FRAME_LOADED && strstr(confinement_of(), "NOT SEALED") == NULL &&
            isolation_of() == KERB_ISOLATION_PROCESS,
        "auto is isolation process");
  call("road", 4, 5000);
  check(strcmp(output(), "hello, road") == 0, "a guest answers");
  check(start("/kerb-tender", "/guests/hello.elf", "vm") == KERB_FRAME_FAILED, "isolation vm is refused");
  if (checks_failed() == 0) { /* else it is this kernel that no tender can do with */
    check_seal();
    check_faults();
    check_leaks();
  }
  finish();
}
