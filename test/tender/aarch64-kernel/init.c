/*
 * The first and only program of an emulated arm64 machine (run.sh): starts kerb-tender, as it is installed, with guests that
 * try to get out of their seal, and speaks to it as a broker does. One line for each check; the last one counts them.
 */
#define _GNU_SOURCE
#include <kerbside/frames.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static unsigned passed, failed;
static int counter_readable; /* as the last tender says */
static int tender = -1;
static pid_t tender_pid;
static char frame[1 << 19];
static const struct kerb_outcome_frame *const outcome = (const void *)frame;

static void check(int good, const char *what) {
  good ? passed++ : failed++;
  if (good) printf("ok      %s\n", what);
  else printf("NOT OK  %s: kind %u, status 0x%x, signal %u, code %d, address 0x%llx\n", what, outcome->kind, outcome->status,
              outcome->signal, outcome->signal_code, (unsigned long long)outcome->fault_address);
}

static void get(char *to, size_t size) {
  while (size > 0) {
    const ssize_t got = read(tender, to, size);
    if (got <= 0) {
      memset(frame, 0, sizeof frame);
      return;
    }
    to += got;
    size -= (size_t)got;
  }
}

static uint32_t receive(void) {
  uint32_t length = 0;
  memset(frame, 0, sizeof frame);
  get(frame, sizeof length);
  memcpy(&length, frame, sizeof length);
  if (length > sizeof frame - sizeof length) length = 0;
  get(frame + sizeof length, length);
  return ((const struct kerb_frame_header *)frame)->type;
}

static void say(enum kerb_frame_type type, const void *input, size_t size, uint64_t budget_ms) {
  const struct kerb_broker_frame call = {.header = {(uint32_t)(sizeof call - 4 + size), type},
                                         .input_size = size,
                                         .budget_ns = budget_ms * 1000000,
                                         .input_inline = type != KERB_FRAME_OPENED};
  if (write(tender, &call, sizeof call) < 0 || write(tender, input, size) < 0) perror("write");
}

/* Another tender, in the place of the one before. Prints how it is confined. */
static int start(const char *program, const char *image, const char *isolation) {
  static char file[1 << 20];
  int pair[2];
  FILE *opened = fopen(image, "rb");
  const size_t size = opened == NULL ? 0 : fread(file, 1, sizeof file, opened);
  if (opened != NULL) fclose(opened);
  if (tender >= 0) {
    close(tender);
    waitpid(tender_pid, NULL, 0);
  }
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) return -1;
  tender_pid = fork();
  if (tender_pid == 0) {
    char *arguments[] = {(char *)program, "65534", (char *)isolation, NULL}, *none[] = {NULL};
    const int end = dup(pair[1]); /* out of the way of descriptor 3 */
    dup2(end, KERB_SOCKET_FD);
    execve(program, arguments, none);
    _exit(127);
  }
  close(pair[1]);
  tender = pair[0];
  receive();
  say(KERB_FRAME_OPENED, "", 0, 0);
  uint32_t type = receive();
  if (type == KERB_FRAME_BLANK) {
    say(KERB_FRAME_LOAD, file, size, 0);
    type = receive();
  }
  const size_t header = type == KERB_FRAME_LOADED ? sizeof(struct kerb_loaded_frame) : sizeof(struct kerb_frame_header);
  printf("        %s: %s\n", image, frame + header);
  counter_readable = strstr(frame + header, "cannot switch off the time-stamp counter") != NULL;
  return (int)type;
}

static void call(const void *input, size_t size, uint64_t budget_ms) {
  say(KERB_FRAME_CALL, input, size, budget_ms);
  receive();
}

static const char *output(void) { return frame + sizeof *outcome + outcome->log_size; }

static int killed_by(int signal, int code) {
  return outcome->kind == KERB_OUTCOME_FAULT && outcome->signal == (uint32_t)signal && outcome->signal_code == code;
}

static void system_call(uint64_t number, uint64_t a, uint64_t b, uint64_t c) {
  const uint64_t words[] = {number, a, b, c};
  call(words, sizeof words, 5000);
}

static void check_seal(void) {
  start("/kerb-tender", "/guests/syscall.elf", "process");
  unsigned let_through = 0;
  for (uint64_t number = 0; number < 1024; number++) {
    if (number == SYS_write || number == SYS_exit_group) continue;
    system_call(number, 0, 0, 0);
    if (killed_by(SIGSYS, 0)) continue;
    printf("        system call %llu is let through\n", (unsigned long long)number);
    let_through++;
  }
  check(let_through == 0, "of 1024 system calls all but write and exit_group are forbidden");
  let_through = 0;
  system_call(SYS_write, KERB_LOG_FD, KERB_GUEST_START, 5);
  check(strcmp(output(), "5") == 0 && outcome->log_size == 5, "the log may be written");
  for (uint64_t fd = 1; fd < 10; fd++) {
    system_call(SYS_write, fd, KERB_GUEST_START, 5);
    if (!killed_by(SIGSYS, 0)) let_through++;
  }
  system_call(SYS_write, 1ull << 32, KERB_GUEST_START, 5);
  check(let_through == 0 && killed_by(SIGSYS, 0), "no other descriptor may, whose number is checked in full");
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

static void leak_call(char what, uint64_t pattern, uint64_t budget_ms) {
  char input[9] = {what};
  memcpy(input + 1, &pattern, 8);
  call(input, sizeof input, budget_ms);
}

static void check_leaks(void) {
  const uint64_t pattern = 0x9e3779b97f4a7c15;
  unsigned dirty = 0;
  start("/kerb-tender", "/guests/leak.elf", "process");
  for (int i = 0; i < 150; i++) {
    leak_call("fXF"[i % 3], pattern + (uint64_t)i, i % 3 == 2 ? 100 : 5000);
    leak_call('l', ~(pattern + (uint64_t)i), 5000);
    uint64_t found[7];
    memcpy(found, output(), sizeof found);
    dirty += outcome->kind != KERB_OUTCOME_DONE || found[5] < 900000;
    found[5] = 0;
    for (int j = 0; j < 7; j++) dirty += found[j] != 0;
  }
  check(dirty == 0, "150 calls that filled memory and registers and ended, faulted or were killed leave nothing");
  leak_call('d', ~pattern, 5000);
  check(output()[0] == 8, "and what they would leave is found");
}

/* pivot_root, which the tender does, does not work on the file system that the kernel itself has unpacked. */
static void move_root(void) {
  mkdir("/root", 0755);
  if (mount("/", "/root", NULL, MS_BIND, NULL) != 0 || chdir("/root") != 0 || mount(".", "/", NULL, MS_MOVE, NULL) != 0 ||
      chroot(".") != 0 || chdir("/") != 0)
    perror("cannot move the root");
}

int main(void) {
  move_root();
  mkdir("/proc", 0555);
  mount("none", "/proc", "proc", 0, NULL);
  check(start("/kerb-tender", "/guests/hello.elf", "auto") == KERB_FRAME_LOADED && strstr(frame, "NOT SEALED") == NULL &&
            ((const struct kerb_loaded_frame *)frame)->isolation == KERB_ISOLATION_PROCESS,
        "auto is isolation process");
  call("road", 4, 5000);
  check(strcmp(output(), "hello, road") == 0, "a guest answers");
  check(start("/kerb-tender", "/guests/hello.elf", "vm") == KERB_FRAME_FAILED, "isolation vm is refused");
  if (failed == 0) { /* else it is this kernel that no tender can do with */
    check_seal();
    check_faults();
    check_leaks();
  }
  printf("%u checks passed, %u failed\n", passed, failed);
  fflush(stdout);
  sync();
  reboot(RB_POWER_OFF);
  return 1;
}
