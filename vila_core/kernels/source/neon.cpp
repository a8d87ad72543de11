// NEON with dot products: Jetson Orin, Raspberry Pi 5, ARM servers since 2019.
#include "common.h"
#ifdef __aarch64__
#pragma GCC target("arch=armv8.2-a+dotprod")
#include <arm_neon.h>
#include <sys/auxv.h>

namespace vila_neon {

#include "ops_neon.h"
#include "whole_sums.h"

constexpr int kRows = 5, kBlocks = 1, kDirectRows = 5, kDirectTokens = 20;
constexpr int kAttendRows = 5, kAttendBlocks = 1;

constexpr bool kMoves = false;
constexpr int kByteZero = 128;

#include "set.h"

static bool runs_here() { return getauxval(AT_HWCAP) & (1 << 20); }  // HWCAP_ASIMDDP
VILA_SET("neon", runs_here)

}  // namespace vila_neon
#endif
