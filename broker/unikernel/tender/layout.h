/*
 * The guest's memory as this process maps it: image, heap, stack, TLS, info page, input and output at the addresses of
 * kerbside/abi.h. The tender itself lies above KERB_GUEST_END.
 */
#ifndef KERBSIDE_TENDER_LAYOUT_H
#define KERBSIDE_TENDER_LAYOUT_H

#include <time.h>

#include "image.h"

struct guest {
  struct image image;
  int input_fd;  /* memfd: input pages, then the info page */
  int output_fd; /* memfd: output pages, then the mailbox */
  uint64_t input_pages;  /* bytes, whole pages */
  uint64_t output_pages; /* bytes, whole pages */
  /* The tender's own writable view of the input memfd; the guest's views are read-only. */
  uint8_t *input;
  struct kerb_info *info;
  bool reused; /* pages of the memfds are cleared and kept for the next call, instead of taken away */
  /* Bytes at the start of each that are kept: as much as recent calls have used. */
  uint64_t input_wanted, output_wanted;
};

/*
 * Maps everything and copies the image in. Sizes the two memfds, which are still empty. `runs_here`: the guest will run in
 * these mappings, so its text has to be executable in them.
 */
bool layout_map(struct guest *guest, const uint8_t *file, bool runs_here, char reason[REASON_SIZE]);

/* Writes the info page of the next call. */
void layout_begin(struct guest *guest, uint32_t isolation, uint64_t input_size);

/*
 * Take back every page that a call may have left something in. The input goes before the answer: from then on the broker
 * may already write the input of the next call. Info page, output and mailbox go after it. `input_size` is the broker's word.
 */
bool layout_scrub_input(struct guest *guest, uint64_t input_size);
bool layout_scrub(struct guest *guest);

/* No call has come for a while: gives back what was kept for the next one, between two calls. */
bool layout_rest(struct guest *guest);

/* The guest's output and mailbox, readable here because nothing of the guest runs any more. */
const uint8_t *layout_output(void);
const struct kerb_mailbox *layout_mailbox(void);

/* Bytes of its own memory that a guest may write: data, TLS, stack and heap. */
uint64_t layout_writable(const struct guest *guest);

/* Guest memory as this process sees it, for a virtual machine to be backed by. */
uint8_t *layout_memory(struct guest_address start);

/* Maps anonymous private memory at a fixed guest address; false when something is there already. */
bool layout_map_private(struct guest_address start, uint64_t size, int protection);

#endif
