// AVX2: every x86 laptop since about 2015.
#include "common.h"
#ifdef __x86_64__
#pragma GCC target("avx2,fma,f16c")
#include <immintrin.h>

#define VILA_WORDS

namespace vila_avx2 {

#include "ops_avx2.h"

constexpr int kRows = 6, kBlocks = 1, kDirectRows = 6, kDirectTokens = 24;
constexpr int kAttendRows = 6, kAttendBlocks = 1;

constexpr bool kMoves = false, kWidens = true, kShortSums = true;
constexpr int kByteZero = 0;

// Unsigned by signed bytes in pairs would overflow 16 bits with 8-bit weights: the pairs are widened first.
static inline __m256i dot_half(__m256i sum, __m256i w, __m256i x) {
  const __m256i even = _mm256_madd_epi16(_mm256_and_si256(w, _mm256_set1_epi16(255)), _mm256_srai_epi16(_mm256_slli_epi16(x, 8), 8));
  const __m256i odd = _mm256_madd_epi16(_mm256_srli_epi16(w, 8), _mm256_srai_epi16(x, 8));
  return _mm256_add_epi32(sum, _mm256_add_epi32(even, odd));
}
static inline I dot4(I sum, I w, I x) { return {dot_half(sum.a, w.a, x.a), dot_half(sum.b, w.b, x.b)}; }

// With 4-bit weights they do not, and some of them are added before they are widened.
struct Short { __m256i a, b; };  // [2 x 16] of 16 bits
static inline Short short_zero() { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
static inline __m256i dot4_short(__m256i sum, __m256i w, __m256i x) {  // in assembly, as dot2
  __m256i products;
  asm("vpmaddubsw %3, %2, %1\n\tvpaddw %1, %0, %0" : "+x"(sum), "=&x"(products) : "x"(w), "x"(x));
  return sum;
}
static inline Short dot4_nibbles(Short sum, I w, I x) { return {dot4_short(sum.a, w.a, x.a), dot4_short(sum.b, w.b, x.b)}; }
static inline I add_short(I sum, Short few) {
  const __m256i ones = _mm256_set1_epi16(1);
  return {_mm256_add_epi32(sum.a, _mm256_madd_epi16(few.a, ones)), _mm256_add_epi32(sum.b, _mm256_madd_epi16(few.b, ones))};
}

#include "set.h"

static bool runs_here() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c"); }
VILA_SET("avx2", runs_here)

}  // namespace vila_avx2
#endif
