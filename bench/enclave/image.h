// The enclave that the benchmarks build, at the silicon's door and in a guest: 64 MiB, every page measured. Plain C,
// for both sides.
#pragma once

#include <stdint.h>
#include <string.h>

enum { IMAGE_PAGE = 4096, IMAGE_PAGES = 16384, IMAGE_TCS = 0, IMAGE_SSA = 1, IMAGE_CODE = 3, IMAGE_DATA = 4 };
#define IMAGE_BYTES ((uint64_t)IMAGE_PAGES * IMAGE_PAGE)

// SECINFO.FLAGS (SDM vol. 3D, table 35-17).
enum { IMAGE_FLAGS_TCS = 0x100, IMAGE_FLAGS_DATA = 0x203, IMAGE_FLAGS_CODE = 0x205 };

extern const uint8_t image_code[], image_code_end[];  // work.S

static inline uint64_t image_flags(unsigned number) {
  return number == IMAGE_TCS ? IMAGE_FLAGS_TCS : number == IMAGE_CODE ? IMAGE_FLAGS_CODE : IMAGE_FLAGS_DATA;
}

// What the page holds.
static inline void image_page(unsigned number, uint8_t* page) {
  memset(page, 0, IMAGE_PAGE);
  if (number == IMAGE_TCS) {
    const uint64_t ossa = IMAGE_SSA * IMAGE_PAGE, oentry = IMAGE_CODE * IMAGE_PAGE;
    const uint32_t nssa = 2;
    memcpy(page + 16, &ossa, sizeof ossa);
    memcpy(page + 28, &nssa, sizeof nssa);
    memcpy(page + 32, &oentry, sizeof oentry);
  } else if (number == IMAGE_CODE) {
    memcpy(page, image_code, (size_t)(image_code_end - image_code));
  } else if (number >= IMAGE_DATA) {
    uint64_t word = number;
    for (unsigned at = 0; at < IMAGE_PAGE; at += sizeof word) {
      word = word * 6364136223846793005u + 1442695040888963407u;
      memcpy(page + at, &word, sizeof word);
    }
  }
}
