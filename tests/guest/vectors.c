// Loops that a compiler makes vectors of (x86-64-v3: AVX2, FMA, BMI, MOVBE), with results that depend on each bit. The
// guest test compares what it prints in a domain with what it prints on the host.
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { size = 4096 };

static float singles[size], other_singles[size];
static double doubles[size], other_doubles[size];
static uint32_t words[size], other_words[size];
static int16_t shorts[size], other_shorts[size];
static uint8_t bytes[size], other_bytes[size];

static uint64_t sum_of(const void* from, size_t count) {
  const uint8_t* at = from;
  uint64_t sum = 0xcbf29ce484222325;
  for (size_t i = 0; i < count; i++) sum = (sum ^ at[i]) * 0x100000001b3;
  return sum;
}

static void show(const char* what, const void* from, size_t count) {
  printf("VECTORS %s %016llx\n", what, (unsigned long long)sum_of(from, count));
}

static void fill(void) {
  uint64_t state = 1;
  for (int i = 0; i < size; i++) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    words[i] = (uint32_t)(state >> 32);
    other_words[i] = (uint32_t)(state >> 17);
    shorts[i] = (int16_t)(state >> 40);
    other_shorts[i] = (int16_t)(state >> 23);
    bytes[i] = (uint8_t)(state >> 50);
    other_bytes[i] = (uint8_t)(state >> 33);
    singles[i] = (float)(int32_t)words[i] / 65536.0f;
    other_singles[i] = (float)(other_words[i] | 1) / 1048576.0f;
    doubles[i] = (double)(int64_t)state / 4294967296.0;
    other_doubles[i] = (double)(other_words[i] | 1);
  }
}

int main(void) {
  fill();
  for (int i = 0; i < size; i++)
    singles[i] = singles[i] * other_singles[i] + singles[(i * 7) % size] / other_singles[i];
  show("singles", singles, sizeof singles);
  for (int i = 0; i < size; i++) doubles[i] = sqrt(fabs(doubles[i])) * other_doubles[i] - doubles[i] / other_doubles[i];
  show("doubles", doubles, sizeof doubles);
  for (int i = 0; i < size; i++) words[i] = (words[i] * other_words[i]) ^ (words[i] >> (other_words[i] & 31));
  show("words", words, sizeof words);
  for (int i = 0; i < size; i++) words[i] += other_words[words[i] % size];
  show("gathered", words, sizeof words);
  for (int i = 0; i < size; i++)
    shorts[i] = (int16_t)(shorts[i] > other_shorts[i] ? shorts[i] * 3 : other_shorts[i] - 1);
  show("shorts", shorts, sizeof shorts);
  for (int i = 0; i < size; i++) bytes[i] = (uint8_t)((bytes[i] + other_bytes[i] + 1) / 2);
  show("bytes", bytes, sizeof bytes);
  for (int i = 0; i < size; i++) doubles[i] = (double)singles[i] + (double)(int32_t)words[i];
  show("converted", doubles, sizeof doubles);
  for (int i = 0; i < size; i++) {
    if (words[i] & 1) singles[i] = other_singles[i];
  }
  show("chosen", singles, sizeof singles);
  uint64_t bits = 0;
  for (int i = 0; i < size; i++) {
    const uint64_t pair = (uint64_t)words[i] << 32 | other_words[i];
    bits = (bits << 1 | bits >> 63) ^ (pair & (pair - 1)) ^ __builtin_bswap64(pair) ^
           (uint64_t)(__builtin_ctzll(pair | 1ull << 63) + __builtin_clzll(pair | 1)) ^ (~pair & bits);
  }
  show("bits", &bits, sizeof bits);
  memmove(bytes + 3, bytes, size - 3);
  bytes[size - 1] = 0;
  printf("VECTORS compared %d %zu\n", memcmp(bytes, bytes + 3, 64) < 0, strlen(memset(bytes, 'x', size - 1)));
  return 0;
}
