// The settings text: every key, and one clear error for what is none.
#include "enclave/settings.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace cloister::enclave {
namespace {

using ::testing::HasSubstr;

std::string error_of(std::string_view text) {
  const auto settings = read_settings(text);
  return settings ? "" : settings.error();
}

TEST(Settings, ReadsEveryKey) {
  const auto s = read_settings(R"(# an enclave
size = 2M
heap=0x3000   # of it
dynamic = 16K
stack = 8192
  threads = 4
ssa_frames = 3
ssa_frame_pages = 2
debug = true
provision_key = true
einittoken_key = true
kss = true
aexnotify = true
xfrm = 0xe7
exinfo = true
isvprodid = 65535
isvsvn = 2
isvfamilyid = 000102030405060708090a0b0c0d0e0f
isvextprodid = FF000000000000000000000000000000
date = 20260131)");
  ASSERT_TRUE(s) << s.error();
  EXPECT_EQ(s->size, 2u << 20);
  EXPECT_EQ(s->heap, 0x3000u);
  EXPECT_EQ(s->dynamic, 16u << 10);
  EXPECT_EQ(s->stack, 8192u);
  EXPECT_EQ(s->threads, 4u);
  EXPECT_EQ(s->ssa_frames, 3u);
  EXPECT_EQ(s->ssa_frame_pages, 2u);
  EXPECT_EQ(s->attributes.flags, 0x4b6u);
  EXPECT_EQ(s->attributes.xfrm, 0xe7u);
  EXPECT_EQ(s->miscselect, 1u);
  EXPECT_EQ(s->isvprodid, 65535u);
  EXPECT_EQ(s->isvsvn, 2u);
  EXPECT_EQ(s->isvfamilyid[15], 0x0f);
  EXPECT_EQ(s->isvextprodid[0], 0xff);
  EXPECT_EQ(s->date, 0x20260131u);
  EXPECT_EQ(problem_of(*s), "");
}

TEST(Settings, EmptyTextIsTheUsual) {
  const auto s = read_settings("\n\n# nothing\n");
  ASSERT_TRUE(s);
  EXPECT_EQ(s->attributes.flags, arch::attributes::mode64bit);
  EXPECT_EQ(problem_of(*s), "");
}

TEST(Settings, ErrorsNameLineAndKey) {
  EXPECT_EQ(error_of("heap = 4K\nhaep = 4K"), "line 2: there is no setting 'haep'");
  EXPECT_EQ(error_of("heap"), "line 1: 'heap' is not KEY = VALUE");
  EXPECT_EQ(error_of("threads = 1025"), "line 1: threads = 1025: expected 1 to 1024");
  for (const char* text : {"heap = ", "heap = 4G", "heap = -1", "heap = 0x", "heap = 99999999999999999999M",
                           "debug = 1", "xfrm = 1", "date = 2026", "isvprodid = 65536", "isvfamilyid = 00",
                           "size = 0x1000000001", "isvfamilyid = 0g0102030405060708090a0b0c0d0e0f"}) {
    EXPECT_THAT(error_of(text), HasSubstr("expected")) << text;
  }
}

TEST(Settings, WhatDoesNotFitTogether) {
  EXPECT_NE(problem_of({.threads = 0}), "");
  EXPECT_NE(problem_of({.ssa_frames = 0}), "");
  EXPECT_NE(problem_of({.stack = 0}), "");
}

}  // namespace
}  // namespace cloister::enclave
