// What the two sets of AVX-512 have in common.
#include "ops_avx512.h"
#include "whole_sums.h"

constexpr int kRows = 6, kBlocks = 2, kDirectRows = 12, kDirectTokens = 24;
constexpr int kAttendRows = 8, kAttendBlocks = 2;

constexpr bool kMoves = true;
constexpr int kByteZero = 0;
static inline I dot4_nibbles(I sum, I w, I x) { return dot4(sum, w, x); }
