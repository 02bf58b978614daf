/* Frames on the socket to the broker: see wire.h. */
#define _GNU_SOURCE
#include "wire.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "check.h"
#include "filters.h"

static bool say(const char *what) {
  char line[REASON_SIZE + 32];
  const int size = snprintf(line, sizeof line, "kerb-tender: %s\n", what);
  /* write: the filters know no other way out. */
  return size <= 0 || write(STDERR_FILENO, line, (size_t)size < sizeof line ? (size_t)size : sizeof line - 1) >= 0;
}

void die(int code, const char *what) {
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

void receive_all(void *to, size_t size, bool between_frames) {
  size_t have = 0;
  while (have < size) {
    const ssize_t got = recv(KERB_SOCKET_FD, (char *)to + have, size - have, MSG_WAITALL);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0 && have == 0 && between_frames) _exit(0);
    if (got <= 0) die(EXIT_PROTOCOL, "the broker hung up in the middle of a frame");
    have += (size_t)got;
  }
}

bool broker_gone(void) {
  struct pollfd socket = {.fd = KERB_SOCKET_FD, .events = POLLIN | POLLRDHUP};
  const struct timespec at_once = {0, 0};
  return ppoll(&socket, 1, &at_once, NULL) > 0;
}

struct kerb_broker_frame receive_frame(void) {
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

void expect(enum kerb_frame_type type) {
  if (receive_frame().header.type != type) die(EXIT_PROTOCOL, "frame from the broker out of turn");
}

void send_reason(enum kerb_frame_type type, const char *reason) {
  struct kerb_frame_header header = {.type = type};
  const size_t size = strnlen(reason, KERB_MAX_REASON);
  header.length = (uint32_t)(sizeof header - sizeof header.length + size);
  struct iovec parts[] = {{&header, sizeof header}, {(char *)reason, size}};
  send_all(parts, 2);
  /* Also where nobody writes: who is writing to a socket whose other end closes may never read what is left in it. */
  (void)say(reason);
  _exit(type == KERB_FRAME_REFUSED ? EXIT_REFUSED : EXIT_FAILED);
}

void say_hello(void) {
  struct kerb_hello_frame hello = {
      .header = {.length = sizeof hello - sizeof hello.header.length, .type = KERB_FRAME_HELLO},
      .wire_version = KERB_WIRE_VERSION,
      .input_fd = INPUT_FD,
      .output_fd = OUTPUT_FD,
  };
  struct iovec part = {&hello, sizeof hello};
  send_all(&part, 1);
}

void say_blank(void) {
  struct kerb_frame_header blank = {.length = sizeof blank - sizeof blank.length, .type = KERB_FRAME_BLANK};
  struct iovec part = {&blank, sizeof blank};
  send_all(&part, 1);
}

void say_loaded(const struct guest *guest, uint32_t isolation, bool kept, const char *why, const char *way, const char *confinement) {
  char text[KERB_MAX_REASON];
  snprintf(text, sizeof text, "isolation %s (%s); %s%s%s%s", isolation == KERB_ISOLATION_VM ? "vm" : "process", why,
           way, way[0] == 0 ? "" : "; ", confinement, filter_warning());
  const size_t size = strlen(text);
  struct kerb_loaded_frame loaded = {
      .header = {.length = (uint32_t)(sizeof loaded - sizeof loaded.header.length + size), .type = KERB_FRAME_LOADED},
      .manifest = guest->image.manifest,
      .isolation = isolation,
      .kept = kept,
  };
  struct iovec parts[] = {{&loaded, sizeof loaded}, {text, size}};
  send_all(parts, 2);
}

uint8_t *receive_image(uint64_t size, char reason[REASON_SIZE]) {
  uint8_t *bytes = image_room(size);
  if (bytes == NULL)
    snprintf(reason, REASON_SIZE, "no memory for the image: %s", strerror(errno));
  else
    receive_all(bytes, size, false);
  return bytes;
}

void send_outcome(const struct guest *guest, const struct ending *ending) {
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
