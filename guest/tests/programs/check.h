// What the programs print: the same lines as the shell tests.
#pragma once
#include <stdio.h>

static int failures;

static inline void check(const char* group, const char* name, int right) {
  printf("%s %s/%s%s\n", right ? "TEST" : "FAIL", group, name, right ? ": ok" : "");
  fflush(stdout);
  failures += !right;
}
