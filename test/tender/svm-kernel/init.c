/*
 * The first and only program of an emulated machine with AMD's SVM (run.sh): loads KVM, starts the tender with isolation `vm`
 * on it, and checks guests, faults, and that a call leaves nothing behind. Its second half prints what calls took: with
 * emulation below all of it, that says something about ratios at most.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../kernel/peer.h"

#define TENDER "/kerb-tender"
#define BUDGET_MS 60000
#define EXACT(vector, error) (KERB_FAULT_EXACT | (vector) << 16 | (error))

static uint8_t input[PEER_INPUT_MAX];

static void load_modules(void) {
  static const char *const modules[] = {"/mod/irqbypass.ko", "/mod/ccp.ko", "/mod/kvm.ko", "/mod/kvm-amd.ko"};
  for (size_t i = 0; i < sizeof modules / sizeof *modules; i++) {
    const int file = open(modules[i], O_RDONLY | O_CLOEXEC);
    if (file < 0 || syscall(SYS_finit_module, file, "", 0) != 0) perror(modules[i]);
    close(file);
  }
}

static void check_guests(void) {
  call("road", 4, BUDGET_MS);
  check(strcmp(output(), "hello, road") == 0, "a guest answers");
  start(TENDER, "/guests/float.elf", "vm");
  call("", 0, BUDGET_MS);
  check(strstr(output(), " 0.429 6048") != NULL, "a guest computes with libm, long double and AVX2");
  start(TENDER, "/guests/loop.elf", "vm");
  call("", 0, 300);
  check(outcome->kind == KERB_OUTCOME_DEADLINE && outcome->log_size == 8, "an endless loop ends at its deadline");
  start(TENDER, "/guests/recursion.elf", "vm");
  call("", 0, BUDGET_MS);
  check(killed_by(SIGSEGV, 1) && outcome->fault_address >> 12 == KERB_HEAP_END >> 12, "endless recursion meets the guard page");
}

static int fault_is(uint32_t status) { return outcome->kind == KERB_OUTCOME_FAULT && outcome->status == status; }

static void check_memory(void) {
  static const uint64_t nothing_there[] = {0xff000,  0x20000ff8, 0x20041000,     0x40002000,
                                           0x3f000000, 0x3ffff000, 0x555555555000, 0x7ffffffde000};
  static const uint64_t read_only[] = {0x100000, KERB_INFO, KERB_INPUT, 0x40000ff8, 0x40001100};
  unsigned wrong = 0;
  start(TENDER, "/guests/write-to.elf", "vm");
  for (size_t i = 0; i < sizeof read_only / sizeof *read_only; i++) {
    call(&read_only[i], 8, BUDGET_MS);
    wrong += !fault_is(EXACT(14, 7)) || outcome->fault_address != read_only[i];
  }
  check(wrong == 0, "text, info page, input and what the processor reads cannot be written: #PF(7) at the address");
  wrong = 0;
  for (size_t i = 0; i < sizeof nothing_there / sizeof *nothing_there; i++) {
    call(&nothing_there[i], 8, BUDGET_MS);
    wrong += !fault_is(EXACT(14, 6)) || outcome->fault_address != nothing_there[i];
  }
  check(wrong == 0, "nothing is around the guest: #PF(6) at the address");
  start(TENDER, "/guests/jump-to.elf", "vm");
  call("", 0, BUDGET_MS);
  check(fault_is(EXACT(14, 0x15)), "data cannot be executed: #PF(0x15)");
}

static void check_instructions(void) {
  unsigned wrong = 0;
  char first[128];
  start(TENDER, "/guests/instruction.elf", "vm");
  for (const char *letter = "iohcpmtT"; *letter != 0; letter++) {
    call(letter, 1, BUDGET_MS);
    /* The four ports of `outl` are doorbells, so that the bitmap lets it through, and the tender refuses it. */
    wrong += *letter == 'o' ? !killed_by(SIGSEGV, 128) : !fault_is(EXACT(13, 0));
  }
  check(wrong == 0, "privileged instructions, ports and the time-stamp counter are #GP(0)");
  call("u", 1, BUDGET_MS);
  check(fault_is(EXACT(6, 0)), "ud2 is #UD");
  call("s", 1, BUDGET_MS);
  check(fault_is(EXACT(6, 0)), "a fault without a stack is reported");
  call("k", 1, BUDGET_MS);
  check(fault_is(EXACT(6, 0)) && outcome->signal == SIGSYS && outcome->fault_address == 231,
        "syscall is #UD, and reported as forbidden with its number");
  call("8", 1, BUDGET_MS);
  /* QEMU's error code of a gate that is not there is another one than a processor's. */
  check(outcome->status >> 16 == EXACT(13, 0) >> 16 && killed_by(SIGSYS, SYS_SECCOMP) && outcome->fault_address == 20,
        "int 0x80 is #GP, and reported as forbidden with its number");
  call("w", 1, BUDGET_MS);
  snprintf(first, sizeof first, "%s", output());
  wrong = 0;
  for (const char *letter = "k8bnvVyxfdzZ"; *letter != 0; letter++) {
    call(letter, 1, BUDGET_MS);
    wrong += outcome->kind != KERB_OUTCOME_FAULT && outcome->kind != KERB_OUTCOME_DONE;
    call("w", 1, BUDGET_MS);
    if (strcmp(output(), first) == 0) continue;
    printf("        after %c: %s instead of %s\n", *letter, output(), first);
    wrong++;
  }
  check(wrong == 0, "no instruction leaves anything in segments, flags or bases");
  start(TENDER, "/guests/divide.elf", "vm");
  call("", 0, BUDGET_MS);
  check(fault_is(EXACT(0, 0)) && outcome->signal == SIGFPE, "division by zero is #DE");
}

static void check_leaks(void) {
  start(TENDER, "/guests/leak.elf", "vm");
  check(leaks(60, "fXF", BUDGET_MS, 900000) == 0, "60 calls in a mebibyte that ended, faulted or were killed leave nothing");
  leak_call('d', ~0x9e3779b97f4a7c15ull, BUDGET_MS);
  check(output()[0] == 8, "and what they would leave is found");
  start(TENDER, "/guests/leak-large.elf", "vm");
  check(leaks(30, "ffXF", BUDGET_MS, 6000000) == 0, "30 calls in 8 MiB leave nothing");
  for (size_t i = 0; i < 12; i++) leak_call('l', 0, BUDGET_MS); /* so few pages that it may choose another way */
  check(leaks(12, "fX", BUDGET_MS, 6000000) == 0, "nor do such calls after small ones");
}

/* Sizes up and down, so that what stays mapped from a large call meets small ones. */
static void check_payloads(void) {
  static const size_t sizes[] = {64, 1 << 20, 100, 4 << 20, 4096, 300000, 0, 1 << 20, 262144, 262145, 1, 2 << 20};
  unsigned wrong = 0;
  start(TENDER, "/tasks/echo.elf", "vm");
  for (unsigned round = 0; round < 36; round++) {
    const size_t size = sizes[round % (sizeof sizes / sizeof *sizes)];
    for (size_t i = 0; i < size; i++) input[i] = (uint8_t)(i * 7 + i / 4096 + round);
    call(input, size, BUDGET_MS);
    wrong += outcome->kind != KERB_OUTCOME_DONE || outcome->output_size != size || memcmp(output(), input, size) != 0;
  }
  check(wrong == 0, "inputs and outputs of all sizes come back whole");
  wrong = 0;
  start(TENDER, "/guests/claim.elf", "vm");
  for (unsigned round = 0; round < 12; round++) {
    const uint64_t full = round % 3 == 2 ? 100000 : 2 << 20, claimed = 2 << 20;
    memset(input, 0xab, sizeof input);
    memcpy(input, &full, sizeof full);
    call(input, 8 + full, BUDGET_MS);
    wrong += outcome->kind != KERB_OUTCOME_DONE || outcome->output_size != full || memcmp(output(), input + 8, full) != 0;
    call(&claimed, 8, BUDGET_MS);
    wrong += outcome->kind != KERB_OUTCOME_DONE || outcome->output_size != claimed;
    for (size_t i = 0; i < claimed; i++) wrong += output()[i] != 0;
  }
  check(wrong == 0, "a long output is not found in the next call's");
}

static void print_calls(const char *program, const char *image, const void *bytes, size_t size, const char *what) {
  if (access(program, X_OK) != 0) return;
  start(program, image, "vm");
  printf("        %s, inside the tender, us:", what);
  for (unsigned i = 0; i < 12; i++) {
    call(bytes, size, BUDGET_MS);
    printf(" %llu", (unsigned long long)outcome->run_ns / 1000);
  }
  printf("\n");
}

static void measure(void) {
  const uint32_t much = 8 << 20, little = 16384;
  print_calls(TENDER, "/tasks/echo.elf", input, 1 << 20, "1 MiB in and out");
  print_calls(TENDER, "/dirty-16M.elf", &much, sizeof much, "8 MiB of 16 MiB changed");
  print_calls(TENDER, "/dirty-16M.elf", &little, sizeof little, "16 KiB of 16 MiB changed");
}

int main(void) {
  set_up_root();
  mount("none", "/dev", "devtmpfs", 0, NULL);
  load_modules();
  check(start(TENDER, "/guests/hello.elf", "auto") == KERB_FRAME_LOADED && isolation_of() == KERB_ISOLATION_VM,
        "auto is isolation vm");
  if (checks_failed() == 0) {
    check_guests();
    check_memory();
    check_instructions();
    check_leaks();
    check_payloads();
    measure();
  }
  finish();
}
