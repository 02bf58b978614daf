/*
 * The vector state of processors (../../broker/unikernel/tender/vectors.h).
 *
 *   vectors-of          reads one processor: numbers in hexadecimal, XCR0 first, then LEAF INDEX EAX EBX ECX of each CPUID
 *                       answer; prints mask and size of the gate's area
 *   vectors-of --here   prints XCR0, mask and size of this processor, then what became of a child that ran XRSTOR on an area
 *                       of so many bytes in front of an unmapped page: "0", or the signal that ended it
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vectors.h"

#define MAX_ANSWERS 70
#define PAGE 4096u

static struct {
  uint32_t leaf, index;
  struct vectors_answer answer;
} table[MAX_ANSWERS];
static unsigned count;

static struct vectors_answer ask(uint32_t leaf, uint32_t index) {
  for (unsigned i = 0; i < count; i++)
    if (table[i].leaf == leaf && table[i].index == index) return table[i].answer;
  return (struct vectors_answer){0};
}

static void print(struct vectors vectors) {
  printf("%llx %llu\n", (unsigned long long)vectors.mask, (unsigned long long)vectors.size);
}

static int from_table(void) {
  unsigned long long xcr0;
  if (scanf("%llx", &xcr0) != 1) return 64;
  while (count < MAX_ANSWERS && scanf("%x %x %x %x %x", &table[count].leaf, &table[count].index, &table[count].answer.eax,
                                      &table[count].answer.ebx, &table[count].answer.ecx) == 5)
    count++;
  print(vectors_of(ask, xcr0));
  return 0;
}

/* The end of the area is the end of what is mapped, which is stricter than the gate: that one has whole pages. */
static int try_here(struct vectors vectors) {
  const size_t pages = (vectors.size + PAGE - 1) / PAGE * PAGE;
  uint8_t *memory = mmap(NULL, pages + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED || mprotect(memory + pages, PAGE, PROT_NONE) != 0) return -1;
  uint8_t *area = memory + pages - vectors.size / 64 * 64;
  vectors_fill(area);
  const pid_t child = fork();
  if (child == 0) {
    if (vectors.mask == 0)
      __asm__ volatile("fxrstor64 (%0)" : : "r"(area) : "memory");
    else
      __asm__ volatile("xrstor64 (%0)" : : "r"(area), "a"((uint32_t)vectors.mask), "d"((uint32_t)(vectors.mask >> 32)) : "memory");
    _exit(0);
  }
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) != child) return -1;
  return WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status);
}

int main(int arguments, char **argument) {
  if (arguments == 1) return from_table();
  if (arguments != 2 || strcmp(argument[1], "--here") != 0) return 64;
  const struct vectors here = vectors_look();
  printf("%llx ", (unsigned long long)vectors_xcr0());
  print(here);
  printf("%d\n", try_here(here));
  return 0;
}
