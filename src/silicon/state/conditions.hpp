// The conditions of Jcc, SETcc and CMOVcc: the ends of their mnemonics, and their codes (SDM vol. 1, app. B).
#pragma once

/// Rows of a table: ROW(name, code) for each, with commas between them.
// clang-format off
#define CLOISTER_EACH_CONDITION(ROW)                                                  \
  ROW(O, 0), ROW(NO, 1), ROW(B, 2), ROW(NB, 3), ROW(Z, 4), ROW(NZ, 5), ROW(BE, 6), ROW(NBE, 7), \
  ROW(S, 8), ROW(NS, 9), ROW(P, 10), ROW(NP, 11), ROW(L, 12), ROW(NL, 13), ROW(LE, 14), ROW(NLE, 15)
// clang-format on
