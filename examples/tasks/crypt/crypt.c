/*
 * crypt: seals and opens with ChaCha20-Poly1305 (RFC 8439, section 2.8), by Debian's nettle.
 *
 * In:  one byte, 0 to seal or 1 to open; key (32 bytes); nonce (12 bytes); length of the additional data (u32 LE); the
 *      additional data; the rest is the text to seal, or what sealing gave. At most 4 MiB and 64 KiB in all.
 * Out: sealing: the encrypted text and its tag (16 bytes); opening: the text. Status 1: the input is cut short; 2: the
 *      first byte is neither 0 nor 1; 3: the tag is wrong, and nothing is given out.
 *
 * A nonce must never be used twice with one key. A task remembers nothing, so that is for the caller to see to.
 */
#include <kerbside/task.h>
#include <nettle/chacha-poly1305.h>
#include <nettle/memops.h>
#include <string.h>

#define LARGEST ((4 << 20) + (64 << 10))
#define TAG CHACHA_POLY1305_DIGEST_SIZE

KERB_TASK("crypt", .memory = 1 << 20, .max_input = LARGEST, .max_output = LARGEST);

enum { SEAL = 0, OPEN = 1 };

struct request {
  uint8_t operation;
  uint8_t key[CHACHA_POLY1305_KEY_SIZE];
  uint8_t nonce[CHACHA_POLY1305_NONCE_SIZE];
  uint32_t additional_size;
} __attribute__((packed));

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the length is read in the order of the machine");
_Static_assert(sizeof(struct request) == 49, "the request starts with 49 bytes");

int kerb_task(const uint8_t *in, size_t in_size, uint8_t *out, size_t out_capacity, size_t *out_size) {
  struct request request;
  if (in_size < sizeof request)
    return kerb_refuse(1, "the input is cut short: its head takes %zu bytes, and %zu came", sizeof request, in_size);
  memcpy(&request, in, sizeof request);
  if (request.operation != SEAL && request.operation != OPEN)
    return kerb_refuse(2, "the first byte is %u: it must be 0 to seal or 1 to open", (unsigned)request.operation);
  const uint8_t *additional = in + sizeof request;
  const size_t rest = in_size - sizeof request;
  const size_t sealed_by = request.operation == OPEN ? TAG : 0;
  if (request.additional_size > rest || rest - request.additional_size < sealed_by)
    return kerb_refuse(1, "the input is cut short: after its head come %u bytes of additional data%s, and %zu bytes came",
                       (unsigned)request.additional_size, sealed_by == 0 ? "" : " and a tag of 16", rest);
  const uint8_t *text = additional + request.additional_size;
  const size_t size = rest - request.additional_size - sealed_by;
  (void)out_capacity; /* as much as the largest input: the head that goes is longer than the tag that comes */

  struct chacha_poly1305_ctx context;
  chacha_poly1305_set_key(&context, request.key);
  chacha_poly1305_set_nonce(&context, request.nonce);
  chacha_poly1305_update(&context, request.additional_size, additional);
  if (request.operation == SEAL) {
    chacha_poly1305_encrypt(&context, size, out, text);
    chacha_poly1305_digest(&context, TAG, out + size);
    *out_size = size + TAG;
    return 0;
  }
  uint8_t tag[TAG];
  chacha_poly1305_decrypt(&context, size, out, text);
  chacha_poly1305_digest(&context, TAG, tag);
  if (!memeql_sec(tag, text + size, TAG)) {
    memset(out, 0, size);
    return kerb_refuse(3, "the tag is wrong: another key, nonce or additional data, or the text was changed");
  }
  *out_size = size;
  return 0;
}
