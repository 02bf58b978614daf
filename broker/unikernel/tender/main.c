/*
 * kerb-tender: holds one unikernel image and runs it once for each call that the broker sends.
 *
 *   kerb-tender USER [ISOLATION]  serve on descriptor 3, as user USER when started as root; process | vm | auto
 *   kerb-tender --check IMAGE     check the image, print its manifest (exit 0) or why it is refused (exit 2)
 *
 * Order matters: descriptors first, while the broker may still open them; then confinement; only then comes an image. All
 * that does not depend on the image is done before it comes, so that a tender can be started ahead of knowing it. Whatever
 * ends this process ends its call too, and nothing else.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "check.h"
#include "confine.h"
#include "filters.h"
#include "isolation.h"
#include "process.h"
#include "wire.h"

/* How long no call comes until what was kept for it is given back. */
#define REST_MS 1000

/*
 * Gives the tender its fixed descriptors: 0 log in (the guest's only one), 2 standard error, 3 socket, 4 log out, 5 and 6
 * the memfds that the broker writes to and reads, 8 that of a kept guest's memory. The pipe holds one page, so a flood of log costs the guest its own time and nobody any memory.
 */
static void open_descriptors(void) {
  int log[2];
  if (pipe2(log, O_NONBLOCK | O_CLOEXEC) != 0 || fcntl(log[1], F_SETPIPE_SZ, KERB_PAGE) < 0)
    die(EXIT_FAILED, "cannot make a pipe for the log");
  const int input = memfd_create("kerb-input", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  const int output = memfd_create("kerb-output", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  const int memory = memfd_create("kerb-memory", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (input < 0 || output < 0 || memory < 0) die(EXIT_FAILED, "cannot make memfds");
  /* First out of the way of the numbers they shall have. */
  const int wanted[] = {KERB_LOG_FD, LOG_READ_FD, INPUT_FD, OUTPUT_FD, MEMORY_FD};
  int high[] = {log[1], log[0], input, output, memory};
  for (size_t i = 0; i < 5; i++)
    if ((high[i] = fcntl(high[i], F_DUPFD_CLOEXEC, 16)) < 0) die(EXIT_FAILED, "cannot duplicate descriptors");
  for (size_t i = 0; i < 5; i++)
    if (dup2(high[i], wanted[i]) < 0) die(EXIT_FAILED, "cannot duplicate descriptors");
  close(1);
  close(KVM_FD);
  if (syscall(SYS_close_range, MEMORY_FD + 1, ~0u, 0) != 0)
    die(EXIT_FAILED, "close_range is missing: Linux 5.9 or later is needed");
}

/* After an answer, so off the caller's path; before the next call, always. */
static bool get_ready(struct guest *guest, const struct isolation *isolation, char reason[REASON_SIZE]) {
  if (layout_scrub(guest)) return isolation->make_ready(guest, reason);
  snprintf(reason, REASON_SIZE, "cannot scrub the guest's memory: %s", strerror(errno));
  return false;
}

static bool await_call(struct guest *guest, const struct isolation *isolation) {
  struct pollfd socket = {.fd = KERB_SOCKET_FD, .events = POLLIN};
  const struct timespec rest = {.tv_sec = REST_MS / 1000, .tv_nsec = REST_MS % 1000 * 1000000};
  if (ppoll(&socket, 1, &rest, NULL) != 0) return true;
  return layout_rest(guest) && isolation->rest(guest);
}

static __attribute__((noreturn)) void serve(struct guest *guest, const struct isolation *isolation) {
  static struct ending ending;
  char reason[REASON_SIZE];
  for (;;) {
    if (!await_call(guest, isolation)) die(EXIT_FAILED, "cannot give back memory");
    const struct kerb_broker_frame call = receive_frame();
    if (call.header.type != KERB_FRAME_CALL) die(EXIT_PROTOCOL, "frame from the broker out of turn");
    if (call.input_size > guest->image.manifest.max_input) die(EXIT_PROTOCOL, "input is larger than the image allows");
    if (call.budget_ns == 0 || call.budget_ns > KERB_MAX_BUDGET_NS) die(EXIT_PROTOCOL, "budget out of range");
    if (call.input_inline == 1) receive_all(guest->input, call.input_size, false);
    layout_begin(guest, isolation->id, call.input_size);
    isolation->run(guest, call.budget_ns, &ending);
    if (ending.kind == ENDING_BROKER_GONE) die(EXIT_PROTOCOL, "the broker hung up or spoke during a call");
    if (ending.kind == ENDING_TENDER_BROKEN) die(EXIT_FAILED, ending.reason);
    if (!layout_scrub_input(guest, call.input_size)) die(EXIT_FAILED, "cannot scrub the input of a call");
    send_outcome(guest, &ending);
    if (!get_ready(guest, isolation, reason)) die(EXIT_FAILED, reason);
  }
}

enum { WISH_ANY = 0 }; /* or KERB_ISOLATION_... */

/* What this tender can offer, found out before the image comes; `why` says how. */
static bool find_isolations(uint32_t wish, bool kvm_open, bool *has_vm, char why[REASON_SIZE]) {
  *has_vm = false;
  if (wish == KERB_ISOLATION_PROCESS) {
    snprintf(why, REASON_SIZE, "as asked for");
    return true;
  }
  *has_vm = kvm_open && vm_prove(why) && vm_stand_by(why);
  if (kvm_open && !*has_vm) vm_close();
  return *has_vm || wish == WISH_ANY;
}

static const struct isolation *choose(uint32_t wish, bool has_vm, bool keeps, char why[REASON_SIZE]) {
  if (has_vm && wish != KERB_ISOLATION_PROCESS) return &isolation_vm;
  if (wish == KERB_ISOLATION_VM) return NULL;
  if (has_vm) {
    snprintf(why, REASON_SIZE, "as asked for");
    vm_close();
  }
  return keeps ? &isolation_process_kept : &isolation_process_forked;
}

static bool read_wish(const char *text, uint32_t *wish) {
  static const struct {
    const char *name;
    uint32_t wish;
  } known[] = {{"process", KERB_ISOLATION_PROCESS}, {"vm", KERB_ISOLATION_VM}, {"auto", WISH_ANY}};
  for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
    if (strcmp(text, known[i].name) != 0) continue;
    *wish = known[i].wish;
    return true;
  }
  return false;
}

int main(int count, char **arguments) {
  if (count == 3 && strcmp(arguments[1], "--check") == 0) return check_only(arguments[2]);
  char *end = NULL;
  uint32_t wish = KERB_ISOLATION_PROCESS;
  const unsigned long user = count == 2 || count == 3 ? strtoul(arguments[1], &end, 10) : 0;
  if (end == NULL || *end != 0 || user == 0 || user > 0xfffffffe || (count == 3 && !read_wish(arguments[2], &wish))) {
    fprintf(stderr, "usage: kerb-tender USER [process|vm|auto]   (started by the broker)\n"
                    "       kerb-tender --check IMAGE\n");
    return EXIT_USAGE;
  }
  static struct guest guest = {.input_fd = INPUT_FD, .output_fd = OUTPUT_FD};
  char reason[REASON_SIZE] = "", why[REASON_SIZE] = "", way[REASON_SIZE] = "";
  char confinement[CONFINEMENT_SIZE];

  setsid(); /* a Ctrl-C at the broker's terminal is the broker's to handle */
  open_descriptors();
  const bool kvm_open = wish != KERB_ISOLATION_PROCESS && vm_open(why);
  /*
   * The broker opens the memfds now, through /proc/PID/fd: this process still has its user and is dumpable, so no
   * privilege is needed for that. After `confine` not even the same user could.
   */
  say_hello();
  expect(KERB_FRAME_OPENED);

  bool has_vm;
  if (!confine((uid_t)user, confinement)) send_reason(KERB_FRAME_FAILED, confinement);
  /* After the change of user, which clears it. A broker that died before this line has closed the socket. */
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (!filter_loading()) send_reason(KERB_FRAME_FAILED, "this kernel has no seccomp filters");
  if (!find_isolations(wish, kvm_open, &has_vm, why)) send_reason(KERB_FRAME_FAILED, why);
  const bool keeps = wish != KERB_ISOLATION_VM && process_may_be_kept(way);
  say_blank();

  const struct kerb_broker_frame load = receive_frame();
  if (load.header.type != KERB_FRAME_LOAD) die(EXIT_PROTOCOL, "frame from the broker out of turn");
  uint8_t *file = receive_image(load.input_size, reason);
  const struct isolation *isolation = choose(load.isolation, has_vm, keeps, why);
  if (isolation == NULL) send_reason(KERB_FRAME_FAILED, why);
  if (isolation->id == KERB_ISOLATION_VM) confine_priority();
  if (file == NULL) send_reason(KERB_FRAME_FAILED, reason);
  if (!image_check(file, load.input_size, &guest.image, reason)) send_reason(KERB_FRAME_REFUSED, reason);
  if (isolation->id == KERB_ISOLATION_VM) way[0] = 0;
  guest.runs_here = isolation->id == KERB_ISOLATION_PROCESS;
  guest.memory_fd = isolation == &isolation_process_kept ? MEMORY_FD : -1;
  if (guest.memory_fd < 0) close(MEMORY_FD);
  if (!layout_map(&guest, file, reason) || !isolation->prepare(&guest, reason))
    send_reason(KERB_FRAME_FAILED, reason);
  munmap(file, load.input_size + 1);
  if (!filter_serving(isolation->id)) send_reason(KERB_FRAME_FAILED, "this kernel has no seccomp filters");
  if (!isolation->self_test(&guest, reason) || !get_ready(&guest, isolation, reason))
    send_reason(KERB_FRAME_FAILED, reason);

  say_loaded(&guest, isolation->id, isolation == &isolation_process_kept, why, way, confinement);
  serve(&guest, isolation);
}
