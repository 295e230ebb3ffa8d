// Kernels that need no system. Instructions are those of every x86-64 processor.
#include <emmintrin.h>
#include <stdlib.h>
#include <string.h>

#include "kernels.h"

static uint64_t random_state = 1;

static uint64_t next_random(void) {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  return random_state;
}

uint64_t run_alu(uint64_t rounds) {
  uint64_t a = 0x9e3779b97f4a7c15, b = 1, c = 3;
  for (uint64_t i = 0; i < rounds; ++i) {
    a += b ^ (c << 7);
    b = (b << 31 | b >> 33) + i;
    c -= a & ~b;
    a ^= a >> 29;
    b += (a > c) ? 5 : 7;
    c = (c << 11 | c >> 53) ^ b;
    a = a * 5 + (c >> 3);
    b ^= (uint32_t)a;
  }
  return a ^ b ^ c;
}

uint64_t run_crc(uint64_t rounds) {
  static uint32_t table[256];
  static uint8_t data[256];
  if (table[1] == 0) {
    for (uint32_t i = 0; i < 256; ++i) {
      uint32_t value = i;
      for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ ((value & 1) ? 0xedb88320 : 0);
      table[i] = value;
      data[i] = (uint8_t)(i * 37 + 11);
    }
  }
  uint32_t crc = ~0u;
  for (uint64_t i = 0; i < rounds; ++i) {
    for (int at = 0; at < 256; ++at) crc = table[(crc ^ data[at]) & 0xff] ^ (crc >> 8);
  }
  return crc;
}

uint64_t run_chase(uint64_t rounds) {
  enum { places = 32768 };
  static void* ring[places];
  static void** at;
  if (at == NULL) {
    static uint32_t order[places];
    random_state = 1;
    for (uint32_t i = 0; i < places; ++i) order[i] = i;
    for (uint32_t i = places - 1; i > 0; --i) {
      const uint32_t other = (uint32_t)(next_random() % (i + 1)), kept = order[i];
      order[i] = order[other];
      order[other] = kept;
    }
    for (uint32_t i = 0; i < places; ++i) ring[order[i]] = &ring[order[(i + 1) % places]];
  }
  at = ring;
  for (uint64_t i = 0; i < rounds; ++i) {
    for (int step = 0; step < 64; ++step) at = *(void***)at;
    __asm__ volatile("" : "+r"(at));
  }
  return (uint64_t)((void**)at - ring);
}

static int compare(const void* a, const void* b) {
  const uint32_t x = *(const uint32_t*)a, y = *(const uint32_t*)b;
  return (x > y) - (x < y);
}

uint64_t run_qsort(uint64_t rounds) {
  uint32_t numbers[256];
  uint64_t sum = 0;
  random_state = 7;
  for (uint64_t i = 0; i < rounds; ++i) {
    for (int n = 0; n < 256; ++n) numbers[n] = (uint32_t)next_random();
    qsort(numbers, 256, sizeof numbers[0], compare);
    sum = sum * 3 + numbers[128];
  }
  return sum;
}

static __attribute__((noinline, noclone)) uint64_t calls(uint64_t n) {
  if (n < 2) return n;
  const uint64_t one = calls(n - 1);
  return one + calls(n - 2);
}

uint64_t run_calls(uint64_t rounds) {
  uint64_t sum = 0;
  for (uint64_t i = 0; i < rounds; ++i) {
    uint64_t n = 12;
    __asm__ volatile("" : "+r"(n));
    sum += calls(n);
  }
  return sum;
}

uint64_t run_sse2(uint64_t rounds) {
  static __m128i data[64];
  for (int n = 0; n < 64; ++n) data[n] = _mm_set1_epi32(n * 0x01030507);
  __m128i sum = _mm_set1_epi16(3), most = _mm_setzero_si128();
  for (uint64_t i = 0; i < rounds; ++i) {
    for (int n = 0; n < 64; ++n) {
      const __m128i value = _mm_xor_si128(data[n], sum);
      const __m128i low = _mm_mullo_epi16(value, _mm_unpacklo_epi8(sum, value));
      sum = _mm_add_epi16(sum, _mm_srli_epi16(low, 3));
      most = _mm_max_epi16(most, _mm_shuffle_epi32(value, 0x1b));
      data[n] = _mm_packus_epi16(low, _mm_sub_epi16(most, sum));
    }
  }
  sum = _mm_add_epi16(sum, most);
  uint64_t halves[2];
  memcpy(halves, &sum, sizeof halves);
  return halves[0] ^ halves[1];
}

static void multiply(double a[16][16], double b[16][16], double to[16][16]) {
  for (int i = 0; i < 16; ++i) {
    for (int j = 0; j < 16; ++j) {
      double sum = 0;
      for (int k = 0; k < 16; ++k) sum += a[i][k] * b[k][j];
      to[i][j] = sum;
    }
  }
}

// By Danielson and Lanczos, in place; the order of the points is not put right, which no sum can tell.
static void transform(double re[64], double im[64], const double cosine[32], const double sine[32]) {
  for (int half = 32; half >= 1; half /= 2) {
    for (int start = 0; start < 64; start += 2 * half) {
      for (int k = 0; k < half; ++k) {
        const int a = start + k, b = a + half, w = k * (32 / half);
        const double dr = re[a] - re[b], di = im[a] - im[b];
        re[a] += re[b];
        im[a] += im[b];
        re[b] = dr * cosine[w] + di * sine[w];
        im[b] = di * cosine[w] - dr * sine[w];
      }
    }
  }
}

uint64_t run_fp(uint64_t rounds) {
  static double a[16][16], b[16][16], c[16][16], re[64], im[64], cosine[32], sine[32];
  // Of multiples of pi / 32, without a library that chooses its instructions by the processor.
  const double c1 = 0.99518472667219688624, s1 = 0.09801714032956060199;
  cosine[0] = 1, sine[0] = 0;
  for (int i = 1; i < 32; ++i) {
    cosine[i] = cosine[i - 1] * c1 - sine[i - 1] * s1;
    sine[i] = sine[i - 1] * c1 + cosine[i - 1] * s1;
  }
  for (int i = 0; i < 256; ++i) a[i / 16][i % 16] = 1.0 / (i + 1), b[i / 16][i % 16] = 1.0 / (256 - i);
  double sum = 0;
  for (uint64_t i = 0; i < rounds; ++i) {
    multiply(a, b, c);
    for (int n = 0; n < 64; ++n) re[n] = c[n / 16][n % 16] + (double)(i % 8), im[n] = 0;
    transform(re, im, cosine, sine);
    sum += _mm_cvtsd_f64(_mm_sqrt_pd(_mm_set_sd(re[1] * re[1] + im[1] * im[1]))) / (1.0 + re[0]);
    a[i % 16][(i / 16) % 16] = sum / (double)(i + 1);
  }
  uint64_t bits;
  memcpy(&bits, &sum, sizeof bits);
  return bits;
}

uint64_t run_memcpy(uint64_t rounds) {
  enum { parts = 1024 };  // of 16 bytes
  static __m128i from[parts], to[parts];
  for (uint64_t i = 0; i < rounds; ++i) {
    for (int n = 0; n < parts; n += 4) {
      const __m128i a = _mm_loadu_si128(&from[n]), b = _mm_loadu_si128(&from[n + 1]);
      const __m128i c = _mm_loadu_si128(&from[n + 2]), d = _mm_loadu_si128(&from[n + 3]);
      _mm_storeu_si128(&to[n], a);
      _mm_storeu_si128(&to[n + 1], b);
      _mm_storeu_si128(&to[n + 2], c);
      _mm_storeu_si128(&to[n + 3], d);
    }
    __asm__ volatile("" : : "r"(to) : "memory");
    from[i % parts] = _mm_set1_epi32((int)i);
  }
  uint64_t halves[2];
  memcpy(halves, &to[7], sizeof halves);
  return halves[0];
}
