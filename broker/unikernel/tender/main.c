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
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "check.h"
#include "confine.h"
#include "filters.h"
#include "isolation.h"

enum { EXIT_USAGE = 64, EXIT_FAILED = 1, EXIT_PROTOCOL = 3 };

/* How long no call comes until what was kept for it is given back. */
#define REST_MS 1000

static bool say(const char *what) {
  char line[REASON_SIZE + 32];
  const int size = snprintf(line, sizeof line, "kerb-tender: %s\n", what);
  /* write: the filters know no other way out. */
  return size <= 0 || write(STDERR_FILENO, line, (size_t)size < sizeof line ? (size_t)size : sizeof line - 1) >= 0;
}

static __attribute__((noreturn)) void die(int code, const char *what) {
  _exit(say(what) ? code : EXIT_FAILED);
}

/* Sends all of it; the broker being gone is the one reason to fail, and then there is nobody to tell. */
static void send_all(struct iovec *parts, size_t count) {
  struct msghdr message = {.msg_iov = parts, .msg_iovlen = (__typeof__(message.msg_iovlen))count};
  while (message.msg_iovlen > 0) {
    ssize_t sent = sendmsg(KERB_SOCKET_FD, &message, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) _exit(0);
    while (message.msg_iovlen > 0 && (size_t)sent >= message.msg_iov->iov_len) {
      sent -= (ssize_t)message.msg_iov->iov_len;
      message.msg_iov++;
      message.msg_iovlen--;
    }
    if (message.msg_iovlen > 0) {
      message.msg_iov->iov_base = (char *)message.msg_iov->iov_base + sent;
      message.msg_iov->iov_len -= (size_t)sent;
    }
  }
}

/* Reads exactly `size` bytes, or ends the process: quietly between frames, with a word in the middle of one. */
static void receive_all(void *to, size_t size, bool between_frames) {
  size_t have = 0;
  while (have < size) {
    const ssize_t got = recv(KERB_SOCKET_FD, (char *)to + have, size - have, MSG_WAITALL);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0 && have == 0 && between_frames) _exit(0);
    if (got <= 0) die(EXIT_PROTOCOL, "the broker hung up in the middle of a frame");
    have += (size_t)got;
  }
}

static struct kerb_broker_frame receive_frame(void) {
  struct kerb_broker_frame frame;
  receive_all(&frame, sizeof frame, true);
  const uint32_t type = frame.header.type;
  const bool call = type == KERB_FRAME_CALL, load = type == KERB_FRAME_LOAD;
  const uint64_t inline_size = frame.input_inline == 1 ? frame.input_size : 0;
  if (frame.input_inline > 1 || inline_size > (load ? KERB_MAX_IMAGE_FILE : KERB_INLINE_MAX) ||
      frame.header.length != sizeof frame - sizeof frame.header.length + inline_size ||
      (load ? frame.input_inline != 1 || frame.isolation > KERB_ISOLATION_VM : frame.isolation != 0) ||
      (!call && frame.budget_ns != 0) || (!call && !load && (frame.input_size != 0 || frame.input_inline != 0)))
    die(EXIT_PROTOCOL, "bad frame from the broker");
  return frame;
}

static void expect(enum kerb_frame_type type) {
  if (receive_frame().header.type != type) die(EXIT_PROTOCOL, "frame from the broker out of turn");
}

static __attribute__((noreturn)) void send_reason(enum kerb_frame_type type, const char *reason) {
  struct kerb_frame_header header = {.type = type};
  const size_t size = strnlen(reason, KERB_MAX_REASON);
  header.length = (uint32_t)(sizeof header - sizeof header.length + size);
  struct iovec parts[] = {{&header, sizeof header}, {(char *)reason, size}};
  send_all(parts, 2);
  /* Also where nobody writes: who is writing to a socket whose other end closes may never read what is left in it. */
  (void)say(reason);
  _exit(type == KERB_FRAME_REFUSED ? EXIT_REFUSED : EXIT_FAILED);
}

static void say_hello(void) {
  struct kerb_hello_frame hello = {
      .header = {.length = sizeof hello - sizeof hello.header.length, .type = KERB_FRAME_HELLO},
      .wire_version = KERB_WIRE_VERSION,
      .input_fd = INPUT_FD,
      .output_fd = OUTPUT_FD,
  };
  struct iovec part = {&hello, sizeof hello};
  send_all(&part, 1);
}

static void say_blank(void) {
  struct kerb_frame_header blank = {.length = sizeof blank - sizeof blank.length, .type = KERB_FRAME_BLANK};
  struct iovec part = {&blank, sizeof blank};
  send_all(&part, 1);
}

static void say_loaded(const struct guest *guest, uint32_t isolation, const char *why, const char *confinement) {
  char text[KERB_MAX_REASON];
  snprintf(text, sizeof text, "isolation %s (%s); %s%s", isolation == KERB_ISOLATION_VM ? "vm" : "process", why,
           confinement, filter_warning());
  const size_t size = strlen(text);
  struct kerb_loaded_frame loaded = {
      .header = {.length = (uint32_t)(sizeof loaded - sizeof loaded.header.length + size), .type = KERB_FRAME_LOADED},
      .manifest = guest->image.manifest,
      .isolation = isolation,
  };
  struct iovec parts[] = {{&loaded, sizeof loaded}, {text, size}};
  send_all(parts, 2);
}

/* What is checked is what is loaded: the bytes are here, and nobody else's any more. */
static uint8_t *receive_image(uint64_t size, char reason[REASON_SIZE]) {
  uint8_t *bytes = image_room(size);
  if (bytes == NULL)
    snprintf(reason, REASON_SIZE, "no memory for the image: %s", strerror(errno));
  else
    receive_all(bytes, size, false);
  return bytes;
}

/*
 * Gives the tender its fixed descriptors: 0 log in (the guest's only one), 2 standard error, 3 socket, 4 log out, 5 and 6
 * the memfds. The pipe holds one page, so a flood of log costs the guest its own time and nobody any memory.
 */
static void open_descriptors(void) {
  int log[2];
  if (pipe2(log, O_NONBLOCK | O_CLOEXEC) != 0 || fcntl(log[1], F_SETPIPE_SZ, KERB_PAGE) < 0)
    die(EXIT_FAILED, "cannot make a pipe for the log");
  const int input = memfd_create("kerb-input", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  const int output = memfd_create("kerb-output", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (input < 0 || output < 0) die(EXIT_FAILED, "cannot make memfds");
  /* First out of the way of the numbers they shall have. */
  const int wanted[] = {KERB_LOG_FD, LOG_READ_FD, INPUT_FD, OUTPUT_FD};
  int high[] = {log[1], log[0], input, output};
  for (size_t i = 0; i < 4; i++)
    if ((high[i] = fcntl(high[i], F_DUPFD_CLOEXEC, 16)) < 0) die(EXIT_FAILED, "cannot duplicate descriptors");
  for (size_t i = 0; i < 4; i++)
    if (dup2(high[i], wanted[i]) < 0) die(EXIT_FAILED, "cannot duplicate descriptors");
  close(1);
  if (syscall(SYS_close_range, OUTPUT_FD + 1, ~0u, 0) != 0)
    die(EXIT_FAILED, "close_range is missing: Linux 5.9 or later is needed");
}

/* Nothing that the guest says is passed on unchecked. */
static void send_outcome(const struct guest *guest, const struct ending *ending) {
  static const uint32_t kinds[] = {
      [ENDING_DONE] = KERB_OUTCOME_DONE,
      [ENDING_ABORT] = KERB_OUTCOME_ABORTED,
      [ENDING_DEADLINE] = KERB_OUTCOME_DEADLINE,
      [ENDING_FAULT] = KERB_OUTCOME_FAULT,
  };
  struct kerb_outcome_frame outcome = {
      .header = {.type = KERB_FRAME_OUTCOME},
      .kind = kinds[ending->kind],
      .status = ending->kind == ENDING_FAULT && ending->fault != 0 ? ending->fault : ending->status,
      .output_size = ending->output_size,
      .run_ns = ending->run_ns,
      .cpu_ns = ending->cpu_ns,
      .log_size = (uint32_t)ending->log_size,
      .output_inline = 1,
      .signal = ending->signal,
      .signal_code = ending->signal_code,
      .fault_address = ending->fault_address,
      .instruction = ending->instruction,
      .stack_pointer = ending->stack_pointer,
      .memory = ending->memory,
  };
  size_t inline_size = 0;
  if (ending->kind == ENDING_DONE) {
    if (ending->output_size > guest->image.manifest.max_output || ending->status > INT32_MAX)
      outcome.kind = KERB_OUTCOME_BAD_OUTPUT;
    else if (ending->output_size > KERB_INLINE_MAX)
      outcome.output_inline = 0;
    else
      inline_size = ending->output_size;
  }
  outcome.header.length =
      (uint32_t)(sizeof outcome - sizeof outcome.header.length + ending->log_size + inline_size);
  struct iovec parts[] = {
      {&outcome, sizeof outcome},
      {(char *)ending->log, ending->log_size},
      {(uint8_t *)layout_output(), inline_size},
  };
  send_all(parts, 3);
  if (outcome.output_inline == 0) expect(KERB_FRAME_RELEASE);
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

static const struct isolation *choose(uint32_t wish, bool has_vm, char why[REASON_SIZE]) {
  if (has_vm && wish != KERB_ISOLATION_PROCESS) return &isolation_vm;
  if (wish == KERB_ISOLATION_VM) return NULL;
  if (has_vm) {
    snprintf(why, REASON_SIZE, "as asked for");
    vm_close();
  }
  return &isolation_process;
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
  char reason[REASON_SIZE] = "", why[REASON_SIZE] = "";
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
  if (!filter_loading()) send_reason(KERB_FRAME_FAILED, "this kernel has no seccomp filters");
  if (!find_isolations(wish, kvm_open, &has_vm, why)) send_reason(KERB_FRAME_FAILED, why);
  say_blank();

  const struct kerb_broker_frame load = receive_frame();
  if (load.header.type != KERB_FRAME_LOAD) die(EXIT_PROTOCOL, "frame from the broker out of turn");
  uint8_t *file = receive_image(load.input_size, reason);
  const struct isolation *isolation = choose(load.isolation, has_vm, why);
  if (isolation == NULL) send_reason(KERB_FRAME_FAILED, why);
  if (isolation->id == KERB_ISOLATION_VM) confine_priority();
  if (file == NULL) send_reason(KERB_FRAME_FAILED, reason);
  if (!image_check(file, load.input_size, &guest.image, reason)) send_reason(KERB_FRAME_REFUSED, reason);
  if (!layout_map(&guest, file, isolation->id == KERB_ISOLATION_PROCESS, reason) || !isolation->prepare(&guest, reason))
    send_reason(KERB_FRAME_FAILED, reason);
  munmap(file, load.input_size + 1);
  if (!filter_serving(isolation->id)) send_reason(KERB_FRAME_FAILED, "this kernel has no seccomp filters");
  if (!isolation->self_test(&guest, reason) || !get_ready(&guest, isolation, reason))
    send_reason(KERB_FRAME_FAILED, reason);

  say_loaded(&guest, isolation->id, why, confinement);
  serve(&guest, isolation);
}
