// Plain C++: what the other sets are tested against, and what runs where none of them does.
#include "common.h"

namespace vila_scalar {

#include "ops_scalar.h"
#include "whole_sums.h"

constexpr int kRows = 4, kBlocks = 1, kDirectRows = 4, kDirectTokens = 24;
constexpr int kAttendRows = 4, kAttendBlocks = 1;

constexpr bool kMoves = false;
constexpr int kByteZero = 0;
static inline I dot4_nibbles(I sum, I w, I x) { return dot4(sum, w, x); }

#include "set.h"

static bool runs_here() { return true; }
VILA_SET("scalar", runs_here)

}  // namespace vila_scalar
