/* `kerb-tender --check`, and the memory that an image is read into. */
#ifndef KERBSIDE_TENDER_CHECK_H
#define KERBSIDE_TENDER_CHECK_H

#include <stdint.h>

enum { EXIT_REFUSED = 2 };

/* Bytes for an image of this size; NULL when there are none. */
uint8_t *image_room(uint64_t size);

/* Prints the manifest of the image in this file, or why it is refused; returns the exit code. */
int check_only(const char *path);

#endif
