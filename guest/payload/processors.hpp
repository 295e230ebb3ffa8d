// The other processors of a payload's machine (SDM vol. 3A, 8.4). They share nothing with the cases that run on the
// first: page tables, GDT and IDT are their own, so that a case may change the first's.
#pragma once

#include "payload.hpp"

namespace processors {

/// How many the machine has, 16 at most (CPUID leaf 1, EBX bits 23:16).
unsigned count();

/// Starts them all, once. Each calls work(number) again and again, number from 1 on, and sleeps between two calls.
void start(void (*work)(unsigned number));

}  // namespace processors
