/* Looking at whole pages, faster than byte by byte: musl's memcmp does the latter. */
#ifndef KERBSIDE_TENDER_PAGES_H
#define KERBSIDE_TENDER_PAGES_H

#include <kerbside/abi.h>
#include <stdbool.h>

typedef uint64_t page_words __attribute__((vector_size(16), may_alias));
#define PAGE_WORDS (KERB_PAGE / sizeof(page_words))

static inline bool page_is_zero(const uint8_t *page) {
  const page_words *words = (const page_words *)page;
  for (unsigned i = 0; i < PAGE_WORDS; i += 16) {
    page_words any = words[i];
    for (unsigned j = 1; j < 16; j++) any |= words[i + j];
    if ((any[0] | any[1]) != 0) return false;
  }
  return true;
}

static inline bool page_is_equal(const uint8_t *page, const uint8_t *other) {
  const page_words *left = (const page_words *)page, *right = (const page_words *)other;
  for (unsigned i = 0; i < PAGE_WORDS; i += 16) {
    page_words any = left[i] ^ right[i];
    for (unsigned j = 1; j < 16; j++) any |= left[i + j] ^ right[i + j];
    if ((any[0] | any[1]) != 0) return false;
  }
  return true;
}

#endif
