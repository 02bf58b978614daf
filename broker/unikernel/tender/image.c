#include "image.h"

#include <elf.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "machine.h"

#define MAX_PROGRAM_HEADERS 32
#define MAX_NOTE_SEGMENT 0x10000

struct file {
  const uint8_t *bytes;
  uint64_t size;
  char *reason;
};

__attribute__((format(printf, 2, 3))) static bool refuse(struct file *file, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(file->reason, REASON_SIZE, format, arguments);
  va_end(arguments);
  return false;
}

/* start + size, or false when that wraps or passes `limit`. */
static bool end_within(uint64_t start, uint64_t size, uint64_t limit, uint64_t *end) {
  return !__builtin_add_overflow(start, size, end) && *end <= limit;
}

/* Copies a struct out of the file: no alignment of the file is assumed. */
static bool read_at(const struct file *file, uint64_t offset, void *to, uint64_t size) {
  uint64_t end;
  if (!end_within(offset, size, file->size, &end)) return false;
  memcpy(to, file->bytes + offset, size);
  return true;
}

static bool check_header(struct file *file, Elf64_Ehdr *header) {
  if (!read_at(file, 0, header, sizeof *header)) return refuse(file, "shorter than an ELF header");
  if (memcmp(header->e_ident, ELFMAG, SELFMAG) != 0) return refuse(file, "not an ELF file");
  if (header->e_ident[EI_CLASS] != ELFCLASS64) return refuse(file, "not a 64-bit ELF file");
  if (header->e_ident[EI_DATA] != ELFDATA2LSB) return refuse(file, "not a little-endian ELF file");
  if (header->e_ident[EI_VERSION] != EV_CURRENT || header->e_version != EV_CURRENT)
    return refuse(file, "unknown ELF version");
  if (header->e_ident[EI_OSABI] != ELFOSABI_NONE && header->e_ident[EI_OSABI] != ELFOSABI_GNU)
    return refuse(file, "made for another operating system's ABI (%u)", header->e_ident[EI_OSABI]);
  if (header->e_type != ET_EXEC)
    return refuse(file, "ELF type %u: a unikernel is a static executable at fixed addresses (ET_EXEC)", header->e_type);
  if (header->e_machine != MACHINE_ELF) return refuse(file, "made for another machine (%u)", header->e_machine);
  if (header->e_ehsize != sizeof *header) return refuse(file, "ELF header of %u bytes", header->e_ehsize);
  if (header->e_phentsize != sizeof(Elf64_Phdr))
    return refuse(file, "program headers of %u bytes", header->e_phentsize);
  if (header->e_phnum == 0 || header->e_phnum > MAX_PROGRAM_HEADERS)
    return refuse(file, "%u program headers, 1 to %d allowed", header->e_phnum, MAX_PROGRAM_HEADERS);
  uint64_t end;
  if (!end_within(header->e_phoff, (uint64_t)header->e_phnum * sizeof(Elf64_Phdr), file->size, &end))
    return refuse(file, "program headers lie outside the file");
  return true;
}

static bool check_load(struct file *file, const Elf64_Phdr *load, unsigned index, struct image *image) {
  uint64_t end;
  if (image->segment_count == MAX_SEGMENTS) return refuse(file, "more than %d segments to load", MAX_SEGMENTS);
  if ((load->p_flags & ~(uint32_t)(PF_R | PF_W | PF_X)) != 0)
    return refuse(file, "segment %u has unknown flags 0x%x", index, load->p_flags);
  if ((load->p_flags & PF_R) == 0) return refuse(file, "segment %u is not readable", index);
  if ((load->p_flags & PF_W) != 0 && (load->p_flags & PF_X) != 0)
    return refuse(file, "segment %u is both writable and executable", index);
  if (load->p_memsz == 0) return refuse(file, "segment %u is empty", index);
  if (load->p_filesz > load->p_memsz) return refuse(file, "segment %u is larger in the file than in memory", index);
  if (!end_within(load->p_offset, load->p_filesz, file->size, &end))
    return refuse(file, "segment %u lies outside the file", index);
  if (load->p_align > 1 && (load->p_align & (load->p_align - 1)) != 0)
    return refuse(file, "segment %u has an alignment that is not a power of two", index);
  if (load->p_align > 1 && ((load->p_vaddr - load->p_offset) & (load->p_align - 1)) != 0)
    return refuse(file, "segment %u is not aligned as it says", index);
  if (load->p_vaddr < KERB_GUEST_START)
    return refuse(file, "segment %u lies below 0x%x", index, (unsigned)KERB_GUEST_START);
  if (!end_within(load->p_vaddr, load->p_memsz, KERB_HEAP_END, &end))
    return refuse(file, "segment %u leaves the guest's memory", index);
  if (image->segment_count > 0) {
    const struct segment *last = &image->segments[image->segment_count - 1];
    if (load->p_vaddr < last->start.value) return refuse(file, "segment %u descends", index);
    if (page_down(load->p_vaddr) < page_up(last->start.value + last->memory_size))
      return refuse(file, "segment %u shares a page with the one before it", index);
  }
  image->segments[image->segment_count++] = (struct segment){
      .start = {load->p_vaddr},
      .memory_size = load->p_memsz,
      .file_offset = load->p_offset,
      .file_size = load->p_filesz,
      .writable = (load->p_flags & PF_W) != 0,
      .executable = (load->p_flags & PF_X) != 0,
  };
  return true;
}

/* The libOS copies the initial values itself; the tender only needs to know how much room to map. */
static bool check_tls(struct file *file, const Elf64_Phdr *tls, struct image *image, bool *seen) {
  if (*seen) return refuse(file, "two TLS segments");
  *seen = true;
  const uint64_t align = tls->p_align == 0 ? 1 : tls->p_align;
  if ((align & (align - 1)) != 0 || align > KERB_PAGE)
    return refuse(file, "TLS alignment is not a power of two up to a page");
  if (tls->p_filesz > tls->p_memsz) return refuse(file, "TLS segment is larger in the file than in memory");
  if (tls->p_memsz > KERB_MAX_TLS) return refuse(file, "TLS segment is larger than %d bytes", KERB_MAX_TLS);
  image->tls_size = (tls->p_memsz + align - 1) & ~(align - 1);
  return true;
}

static bool check_name(struct file *file, const char name[KERB_NAME_SIZE]) {
  size_t length = 0;
  while (length < KERB_NAME_SIZE && name[length] != 0) {
    const char c = name[length++];
    if ((c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-')
      return refuse(file, "name in the manifest note holds other characters than a-z, 0-9 and -");
  }
  if (length == 0) return refuse(file, "name in the manifest note is empty");
  if (length == KERB_NAME_SIZE) return refuse(file, "name in the manifest note is not closed by a zero");
  for (size_t i = length; i < KERB_NAME_SIZE; i++)
    if (name[i] != 0) return refuse(file, "name in the manifest note is not filled up with zeros");
  return true;
}

static bool check_manifest(struct file *file, const struct kerb_note_manifest *manifest) {
  if (manifest->memory > KERB_MAX_MEMORY)
    return refuse(file, "memory in the manifest note is larger than %d bytes", KERB_MAX_MEMORY);
  if (manifest->max_input > KERB_MAX_INPUT)
    return refuse(file, "largest input in the manifest note is larger than %d bytes", KERB_MAX_INPUT);
  if (manifest->max_output > KERB_MAX_OUTPUT)
    return refuse(file, "largest output in the manifest note is larger than %d bytes", KERB_MAX_OUTPUT);
  return check_name(file, manifest->name);
}

struct notes {
  bool abi;
  bool manifest;
};

static bool check_note(struct file *file, uint32_t type, const uint8_t *descriptor, uint32_t size, struct image *image,
                       struct notes *seen) {
  if (type == KERB_NOTE_ABI) {
    struct kerb_note_abi abi;
    if (seen->abi) return refuse(file, "two ABI notes");
    if (size != sizeof abi) return refuse(file, "ABI note of %u bytes", size);
    memcpy(&abi, descriptor, sizeof abi);
    if (abi.target != KERB_TARGET) return refuse(file, "ABI note names another target (%u)", abi.target);
    if (abi.version != KERB_ABI_VERSION)
      return refuse(file, "made for ABI version %u, this tender has %d: build the task again", abi.version,
                    KERB_ABI_VERSION);
    seen->abi = true;
    return true;
  }
  if (type == KERB_NOTE_MANIFEST) {
    if (seen->manifest) return refuse(file, "two manifest notes");
    if (size != sizeof image->manifest) return refuse(file, "manifest note of %u bytes", size);
    memcpy(&image->manifest, descriptor, sizeof image->manifest);
    seen->manifest = true;
    return check_manifest(file, &image->manifest);
  }
  return refuse(file, "unknown Kerbside note of type %u", type);
}

/* Walks one PT_NOTE segment: header, owner, descriptor, each padded to four bytes. */
static bool check_notes(struct file *file, const Elf64_Phdr *segment, struct image *image, struct notes *seen) {
  uint64_t end;
  if (segment->p_filesz > MAX_NOTE_SEGMENT || !end_within(segment->p_offset, segment->p_filesz, file->size, &end))
    return refuse(file, "note segment lies outside the file");
  uint64_t at = segment->p_offset;
  while (at < end) {
    Elf64_Nhdr header;
    if (end - at < sizeof header) return refuse(file, "note is cut off");
    memcpy(&header, file->bytes + at, sizeof header);
    at += sizeof header;
    const uint64_t owner_room = ((uint64_t)header.n_namesz + 3) & ~3ull;
    const uint64_t descriptor_room = ((uint64_t)header.n_descsz + 3) & ~3ull;
    if (owner_room > end - at || descriptor_room > end - at - owner_room) return refuse(file, "note is cut off");
    const uint8_t *owner = file->bytes + at;
    const uint8_t *descriptor = owner + owner_room;
    at += owner_room + descriptor_room;
    if (header.n_namesz == KERB_NOTE_OWNER_SIZE && memcmp(owner, KERB_NOTE_OWNER, KERB_NOTE_OWNER_SIZE) == 0 &&
        !check_note(file, header.n_type, descriptor, header.n_descsz, image, seen))
      return false;
  }
  return true;
}

/* Where the heap goes: one unmapped page after the last segment, as large as the manifest's memory has left. */
static bool place_heap(struct file *file, struct image *image) {
  uint64_t used = KERB_STACK_SIZE + below_thread_pointer(image->tls_size) + above_thread_pointer(image->tls_size);
  for (unsigned i = 0; i < image->segment_count; i++) {
    const struct segment *segment = &image->segments[i];
    if (segment->writable)
      used += page_up(segment->start.value + segment->memory_size) - page_down(segment->start.value);
  }
  if (used > image->manifest.memory)
    return refuse(file, "memory in the manifest note is %llu bytes, but data, TLS and stack alone take %llu",
                  (unsigned long long)image->manifest.memory, (unsigned long long)used);
  const struct segment *last = &image->segments[image->segment_count - 1];
  uint64_t end;
  image->heap.value = page_up(last->start.value + last->memory_size) + KERB_PAGE;
  image->heap_size = page_down(image->manifest.memory - used);
  if (!end_within(image->heap.value, image->heap_size, KERB_HEAP_END, &end))
    return refuse(file, "image and heap do not fit below 0x%x", (unsigned)KERB_HEAP_END);
  return true;
}

static bool check_entry(struct file *file, uint64_t entry, struct image *image) {
  for (unsigned i = 0; i < image->segment_count; i++) {
    const struct segment *segment = &image->segments[i];
    if (segment->executable && entry >= segment->start.value && entry - segment->start.value < segment->file_size) {
      image->entry.value = entry;
      return true;
    }
  }
  return refuse(file, "entry point 0x%llx lies outside the text", (unsigned long long)entry);
}

bool image_check(const uint8_t *bytes, uint64_t size, struct image *image, char reason[REASON_SIZE]) {
  struct file file = {bytes, size, reason};
  Elf64_Ehdr header;
  bool tls_seen = false;
  struct notes notes_seen = {false, false};
  memset(image, 0, sizeof *image);

  if (size > KERB_MAX_IMAGE_FILE) return refuse(&file, "larger than %d bytes", KERB_MAX_IMAGE_FILE);
  if (!check_header(&file, &header)) return false;
  for (unsigned i = 0; i < header.e_phnum; i++) {
    Elf64_Phdr program;
    if (!read_at(&file, header.e_phoff + (uint64_t)i * sizeof program, &program, sizeof program))
      return refuse(&file, "program headers lie outside the file");
    switch (program.p_type) {
      case PT_LOAD:
        if (!check_load(&file, &program, i, image)) return false;
        break;
      case PT_TLS:
        if (!check_tls(&file, &program, image, &tls_seen)) return false;
        break;
      case PT_NOTE:
        if (!check_notes(&file, &program, image, &notes_seen)) return false;
        break;
      case PT_INTERP:
        return refuse(&file, "asks for an interpreter: link it statically");
      case PT_DYNAMIC:
        return refuse(&file, "is dynamically linked: link it statically");
      case PT_GNU_STACK:
        if ((program.p_flags & PF_X) != 0) return refuse(&file, "asks for an executable stack");
        break;
      default:
        break; /* says something about segments that the loader does not use */
    }
  }
  if (image->segment_count == 0) return refuse(&file, "has no segment to load");
  if (!notes_seen.abi) return refuse(&file, "has no ABI note: not a Kerbside unikernel");
  if (!notes_seen.manifest) return refuse(&file, "has no manifest note: not a Kerbside unikernel");
  return check_entry(&file, header.e_entry, image) && place_heap(&file, image);
}
