#include "aes.h"

#include "runtime.h"

static __m128i load(const void* from) { return _mm_loadu_si128(from); }
static void store(void* to, __m128i value) { _mm_storeu_si128(to, value); }

// The next round key from the one before: each word is the exclusive or of all words up to it, and the helper's last.
static __m128i next_round(__m128i key, __m128i helper) {
  key = _mm_xor_si128(key, _mm_slli_si128(key, 4));
  key = _mm_xor_si128(key, _mm_slli_si128(key, 8));
  return _mm_xor_si128(key, _mm_shuffle_epi32(helper, 0xff));
}

void aes_start(struct aes* aes, const uint8_t key[16]) {
  __m128i* round = aes->round;
  round[0] = load(key);
#define ROUND(n, constant) round[n] = next_round(round[n - 1], _mm_aeskeygenassist_si128(round[n - 1], constant))
  ROUND(1, 0x01);
  ROUND(2, 0x02);
  ROUND(3, 0x04);
  ROUND(4, 0x08);
  ROUND(5, 0x10);
  ROUND(6, 0x20);
  ROUND(7, 0x40);
  ROUND(8, 0x80);
  ROUND(9, 0x1b);
  ROUND(10, 0x36);
#undef ROUND
}

__m128i aes_block(const struct aes* aes, __m128i block) {
  block = _mm_xor_si128(block, aes->round[0]);
  for (int i = 1; i < 10; i++) block = _mm_aesenc_si128(block, aes->round[i]);
  return _mm_aesenclast_si128(block, aes->round[10]);
}

// A block as the polynomial that CMAC and GHASH mean: big-endian halves.
struct halves {
  uint64_t high, low;
};
static struct halves to_halves(const void* block) {
  struct halves h;
  memcpy(&h, block, sizeof h);
  return (struct halves){__builtin_bswap64(h.high), __builtin_bswap64(h.low)};
}
static void from_halves(void* block, struct halves h) {
  h = (struct halves){__builtin_bswap64(h.high), __builtin_bswap64(h.low)};
  memcpy(block, &h, sizeof h);
}

// ---------------------------------------------------------------------------------------------------- CMAC

static struct halves doubled(struct halves h) {
  return (struct halves){h.high << 1 | h.low >> 63, h.low << 1 ^ (0x87 & -(h.high >> 63))};
}

void aes_cmac(const uint8_t key[16], const void* message, size_t size, uint8_t mac[16]) {
  struct aes aes;
  aes_start(&aes, key);
  uint8_t last[16] = {0};
  store(last, aes_block(&aes, _mm_setzero_si128()));
  struct halves subkey = doubled(to_halves(last));
  const uint8_t* at = message;
  __m128i state = _mm_setzero_si128();
  for (; size > 16; at += 16, size -= 16) state = aes_block(&aes, _mm_xor_si128(state, load(at)));
  memset(last, 0, sizeof last);
  memcpy(last, at, size);
  if (size < 16) {
    last[size] = 0x80;
    subkey = doubled(subkey);
  }
  uint8_t mask[16];
  from_halves(mask, subkey);
  state = _mm_xor_si128(state, _mm_xor_si128(load(last), load(mask)));
  store(mac, aes_block(&aes, state));
}

// ---------------------------------------------------------------------------------------------------- GCM

// The product in GF(2^128), a bit at a time, without a branch on either factor (SP 800-38D, 6.3).
static struct halves multiply(struct halves x, struct halves y) {
  struct halves product = {0, 0};
  for (int i = 0; i < 128; i++) {
    const uint64_t mask = -(i < 64 ? x.high >> (63 - i) & 1 : x.low >> (127 - i) & 1);
    product.high ^= y.high & mask;
    product.low ^= y.low & mask;
    const uint64_t carry = -(y.low & 1);
    y.low = y.low >> 1 | y.high << 63;
    y.high = y.high >> 1 ^ (0xe1ull << 56 & carry);
  }
  return product;
}

static void hash(struct halves* state, struct halves subkey, const void* data, size_t size) {
  for (const uint8_t* at = data; size;) {
    uint8_t block[16] = {0};
    const size_t part = size < 16 ? size : 16;
    memcpy(block, at, part);
    const struct halves value = to_halves(block);
    *state = multiply((struct halves){state->high ^ value.high, state->low ^ value.low}, subkey);
    at += part;
    size -= part;
  }
}

// The block that is encrypted for counter n; counter 1 is the tag's.
static void key_stream(const struct aes* aes, const uint8_t nonce[12], uint32_t n, uint8_t out[16]) {
  n = __builtin_bswap32(n);
  memcpy(out, nonce, 12);
  memcpy(out + 12, &n, 4);
  store(out, aes_block(aes, load(out)));
}

static void encrypt(const struct aes* aes, const uint8_t nonce[12], const struct gcm_text* what) {
  uint8_t stream[16];
  for (size_t i = 0; i < what->size; i++) {
    if (i % 16 == 0) key_stream(aes, nonce, (uint32_t)(i / 16) + 2, stream);
    what->text[i] ^= stream[i % 16];
  }
}

static void tag_of(const struct aes* aes, const uint8_t nonce[12], const struct gcm_text* what, uint8_t tag[16]) {
  uint8_t zero[16] = {0}, lengths[16], mask[16];
  store(zero, aes_block(aes, load(zero)));
  const struct halves subkey = to_halves(zero);
  struct halves state = {0, 0};
  hash(&state, subkey, what->associated, what->associated_size);
  hash(&state, subkey, what->text, what->size);
  from_halves(lengths, (struct halves){what->associated_size * 8, what->size * 8});
  hash(&state, subkey, lengths, sizeof lengths);
  from_halves(tag, state);
  key_stream(aes, nonce, 1, mask);
  store(tag, _mm_xor_si128(load(tag), load(mask)));
}

void gcm_seal(const uint8_t key[16], const uint8_t nonce[12], const struct gcm_text* what, uint8_t tag[16]) {
  struct aes aes;
  aes_start(&aes, key);
  encrypt(&aes, nonce, what);
  tag_of(&aes, nonce, what, tag);
}

int gcm_open(const uint8_t key[16], const uint8_t nonce[12], const struct gcm_text* what, const uint8_t tag[16]) {
  struct aes aes;
  uint8_t right[16];
  aes_start(&aes, key);
  tag_of(&aes, nonce, what, right);
  if (!equal(right, tag, sizeof right)) {
    memset(what->text, 0, what->size);
    return 0;
  }
  encrypt(&aes, nonce, what);
  return 1;
}
