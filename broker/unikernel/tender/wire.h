/*
 * What the tender says to the broker and hears of it: the frames of kerbside/frames.h on KERB_SOCKET_FD. Whatever the broker
 * may not send ends this process with a sentence; a broker that is gone ends it quietly.
 */
#ifndef KERBSIDE_TENDER_WIRE_H
#define KERBSIDE_TENDER_WIRE_H

#include <kerbside/frames.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "isolation.h"
#include "layout.h"

enum { EXIT_USAGE = 64, EXIT_FAILED = 1, EXIT_PROTOCOL = 3 };

/* Ends this process, with a line on standard error. */
__attribute__((noreturn)) void die(int code, const char *what);

/* Reads exactly `size` bytes, or ends the process: quietly between frames, with a word in the middle of one. */
void receive_all(void *to, size_t size, bool between_frames);
/* During a call: the broker is gone, or it speaks out of turn. Either way the call has no taker. */
bool broker_gone(void);
/* The next frame, which is one that the broker may send; its input is left on the socket. */
struct kerb_broker_frame receive_frame(void);
void expect(enum kerb_frame_type type);
/* What is checked is what is loaded: the bytes are here, and nobody else's any more. NULL, with the reason, for want of memory. */
uint8_t *receive_image(uint64_t size, char reason[REASON_SIZE]);

void say_hello(void);
void say_blank(void);
void say_loaded(const struct guest *guest, uint32_t isolation, bool kept, const char *why, const char *way, const char *confinement);
/* REFUSED or FAILED, which is the last that this process says. */
__attribute__((noreturn)) void send_reason(enum kerb_frame_type type, const char *reason);
/* Nothing that the guest says is passed on unchecked. */
void send_outcome(const struct guest *guest, const struct ending *ending);

#endif
