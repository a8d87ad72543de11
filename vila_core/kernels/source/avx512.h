// What the two sets of AVX-512 have in common.
#include "ops_avx512.h"

// Tiles: tokens x blocks of 16 outputs, and queries x blocks of 16 keys. Few tokens: up to kDirectTokens.
constexpr int kRows = 6, kBlocks = 2, kDirectRows = 12, kDirectTokens = 24;
constexpr int kAttendRows = 8, kAttendBlocks = 2;

constexpr bool kMoves = true, kWidens = false, kShortSums = false;
constexpr int kByteZero = 0;
using Short = I;
static inline I dot4_nibbles(I sum, I w, I x) { return dot4(sum, w, x); }
static inline I short_zero() { return izero(); }
static inline I add_short(I sum, I few) { return iadd(sum, few); }
