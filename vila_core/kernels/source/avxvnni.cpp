// AVX-VNNI: laptops since 2021.
#include "common.h"
#ifdef __x86_64__
#pragma GCC target("avx2,fma,f16c,avxvnni")
#include <immintrin.h>

namespace vila_avxvnni {

#include "ops_avx2.h"
#include "whole_sums.h"

constexpr int kRows = 6, kBlocks = 1, kDirectRows = 6, kDirectTokens = 24;
constexpr int kAttendRows = 6, kAttendBlocks = 1;

constexpr bool kMoves = true;
constexpr int kByteZero = 0;
static inline I dot4(I sum, I w, I x) { return {_mm256_dpbusd_avx_epi32(sum.a, w.a, x.a), _mm256_dpbusd_avx_epi32(sum.b, w.b, x.b)}; }
static inline I dot4_nibbles(I sum, I w, I x) { return dot4(sum, w, x); }

#include "set.h"

static bool runs_here() {
  return __builtin_cpu_supports("avxvnni") && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
}
VILA_SET("avxvnni", runs_here)

}  // namespace vila_avxvnni
#endif
