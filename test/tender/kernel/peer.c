#define _GNU_SOURCE
#include "peer.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static unsigned passed, failed;
int counter_readable;
static uint32_t isolation_loaded;
static int input_memory = -1, output_memory = -1;
static char confinement[KERB_MAX_REASON + 1];
static int tender = -1;
static pid_t tender_pid;
static char frame[(1 << 19) + 1];
static char large[PEER_INPUT_MAX + 1];
const struct kerb_outcome_frame *const outcome = (const void *)frame;

void check(int good, const char *what) {
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
  if (length >= sizeof frame - sizeof length) length = 0;
  get(frame + sizeof length, length);
  return ((const struct kerb_frame_header *)frame)->type;
}

static void say(enum kerb_frame_type type, const void *input, size_t size, uint64_t budget_ms, int inlined) {
  const struct kerb_broker_frame call = {.header = {(uint32_t)(sizeof call - 4 + (inlined ? size : 0)), type},
                                         .input_size = size,
                                         .budget_ns = budget_ms * 1000000,
                                         
                                         .input_inline = (uint32_t)inlined};
  if (write(tender, &call, sizeof call) < 0 || (inlined && write(tender, input, size) < 0)) perror("write");
}

/* The memfds of the tender, while it still lets its user in. */
static void open_memory(void) {
  const struct kerb_hello_frame *hello = (const void *)frame;
  char path[64];
  if (input_memory >= 0) close(input_memory);
  if (output_memory >= 0) close(output_memory);
  snprintf(path, sizeof path, "/proc/%d/fd/%u", tender_pid, hello->input_fd);
  input_memory = open(path, O_RDWR | O_CLOEXEC);
  snprintf(path, sizeof path, "/proc/%d/fd/%u", tender_pid, hello->output_fd);
  output_memory = open(path, O_RDONLY | O_CLOEXEC);
  if (input_memory < 0 || output_memory < 0) perror("memory of the tender");
}

int start(const char *program, const char *image, const char *isolation) {
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
  open_memory();
  say(KERB_FRAME_OPENED, "", 0, 0, 0);
  uint32_t type = receive();
  if (type == KERB_FRAME_BLANK) {
    say(KERB_FRAME_LOAD, file, size, 0, 1);
    type = receive();
  }
  const size_t header = type == KERB_FRAME_LOADED ? sizeof(struct kerb_loaded_frame) : sizeof(struct kerb_frame_header);
  isolation_loaded = type == KERB_FRAME_LOADED ? ((const struct kerb_loaded_frame *)frame)->isolation : 0;
  snprintf(confinement, sizeof confinement, "%s", frame + header);
  printf("        %s: %s\n", image, confinement);
  counter_readable = strstr(frame + header, "cannot switch off the time-stamp counter") != NULL;
  return (int)type;
}

uint32_t isolation_of(void) { return isolation_loaded; }
const char *confinement_of(void) { return confinement; }
unsigned checks_failed(void) { return failed; }

void call(const void *input, size_t size, uint64_t budget_ms) {
  const int inlined = size <= KERB_INLINE_MAX;
  if (!inlined && pwrite(input_memory, input, size, 0) != (ssize_t)size) perror("input");
  say(KERB_FRAME_CALL, input, size, budget_ms, inlined);
  if (receive() != KERB_FRAME_OUTCOME || outcome->kind != KERB_OUTCOME_DONE || outcome->output_inline == 1) return;
  memset(large, 0, sizeof large);
  if (outcome->output_size >= sizeof large || pread(output_memory, large, outcome->output_size, 0) != (ssize_t)outcome->output_size)
    perror("output");
  say(KERB_FRAME_RELEASE, "", 0, 0, 0);
}

const char *log_of(void) { return frame + sizeof *outcome; }
const char *output(void) {
  return outcome->kind == KERB_OUTCOME_DONE && outcome->output_inline == 0 ? large : log_of() + outcome->log_size;
}

int killed_by(int signal, int code) {
  return outcome->kind == KERB_OUTCOME_FAULT && outcome->signal == (uint32_t)signal && outcome->signal_code == code;
}

void leak_call(char what, uint64_t pattern, uint64_t budget_ms) {
  char input[9] = {what};
  memcpy(input + 1, &pattern, 8);
  call(input, sizeof input, budget_ms);
}

unsigned leaks(int count, const char *ways, uint64_t budget_ms, uint64_t least) {
  const uint64_t pattern = 0x9e3779b97f4a7c15;
  unsigned dirty = 0;
  for (int i = 0; i < count; i++) {
    const char way = ways[(size_t)i % strlen(ways)];
    leak_call(way, pattern + (uint64_t)i, way == 'F' ? 300 : budget_ms);
    leak_call('l', ~(pattern + (uint64_t)i), budget_ms);
    uint64_t found[7];
    memcpy(found, output(), sizeof found);
    int wrong = outcome->kind != KERB_OUTCOME_DONE || found[5] < least;
    found[5] = 0;
    for (int j = 0; j < 7; j++) wrong |= found[j] != 0;
    dirty += (unsigned)wrong;
  }
  return dirty;
}

/* pivot_root, which the tender does, does not work on the file system that the kernel itself has unpacked. */
void set_up_root(void) {
  mkdir("/root", 0755);
  if (mount("/", "/root", NULL, MS_BIND, NULL) != 0 || chdir("/root") != 0 || mount(".", "/", NULL, MS_MOVE, NULL) != 0 ||
      chroot(".") != 0 || chdir("/") != 0)
    perror("cannot move the root");
  mkdir("/proc", 0555);
  mount("none", "/proc", "proc", 0, NULL);
}

void finish(void) {
  printf("%u checks passed, %u failed\n", passed, failed);
  fflush(stdout);
  sync();
  reboot(RB_POWER_OFF);
  _exit(1);
}
