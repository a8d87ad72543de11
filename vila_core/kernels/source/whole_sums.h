// For sets whose dot products add to 32 bits at once: tile.h's sums in 16 bits are these, and no activation is too large.
constexpr bool kShortSums = false, kHalves = false;
static inline int large_fours(I) { return 0; }
using Short = I;
static inline I short_zero() { return izero(); }
static inline I add_short(I sum, I few) { return iadd(sum, few); }
