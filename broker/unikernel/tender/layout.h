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
  bool runs_here; /* calls run in forks of this process */
  /*
   * memfd: data, TLS, stack and heap, one after the other, for a guest that is put back after each call; -1: they are private
   * memory of this process. Bytes, and the tender's own view of all of them.
   */
  int memory_fd;
  uint64_t memory_size;
  uint8_t *memory;
  /* Bytes at the start of each memfd that recent calls have used, whole pages: what is kept follows it (layout.c). */
  uint64_t input_wanted, output_wanted;
};

/*
 * Maps everything and copies the image in. Sizes the two memfds, which are still empty. `guest->runs_here`: the guest will run
 * in these mappings, so its text has to be executable in them.
 */
bool layout_map(struct guest *guest, const uint8_t *file, char reason[REASON_SIZE]);

/* In the process of a coming call: maps those pages of input and output that recent calls have used. */
void layout_premap(const struct guest *guest);

/* Bytes of memory that the output takes, its mailbox included. */
uint64_t layout_output_held(const struct guest *guest);

/* Writes the info page of the next call. */
void layout_begin(struct guest *guest, uint32_t isolation, uint64_t input_size);

/*
 * Clear or take back every page that a call may have left something in. The input goes before the answer: from then on the
 * broker may already write the input of the next call. Info page, output and mailbox go after it. `input_size` is the
 * broker's word.
 */
bool layout_scrub_input(struct guest *guest, uint64_t input_size);
bool layout_scrub(struct guest *guest);

/*
 * No call has come for a while: gives back the output that was kept for the next one. Not the input: the broker may be
 * writing to it at this moment.
 */
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
/* The same for what the guest may write to: a part of its memfd where there is one. */
bool layout_map_writable(struct guest *guest, struct guest_address start, uint64_t size);
/* With a memfd, once, when all is mapped: its size is fixed, and this process has its view of it. */
bool layout_seal_memory(struct guest *guest);
/* Takes pages of a memfd away; both in bytes, whole pages. They read as zeros again. */
bool layout_punch(int fd, uint64_t start, uint64_t size);

#endif
