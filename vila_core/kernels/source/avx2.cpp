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

constexpr bool kMoves = false, kHalves = true, kShortSums = true;
constexpr int kByteZero = 0;

// Unsigned by signed bytes are added in pairs in 16 bits, where 255 x 128 fits: neighbours in x may be 128 together, up or down.
alignas(32) static const int16_t kOnes[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
static inline __m256i dot_half(__m256i sum, __m256i w, __m256i x) {  // in assembly, as dot2
  __m256i products;
  asm("vpmaddubsw %3, %2, %1\n\tvpmaddwd %4, %1, %1\n\tvpaddd %1, %0, %0" : "+x"(sum), "=&x"(products)
      : "x"(w), "x"(x), "m"(*(const __m256i*)kOnes));
  return sum;
}
static inline __m256i large_pairs(__m256i v) {  // of 32-bit values, two by two: all bits where they are too large together
  return _mm256_cmpgt_epi32(_mm256_abs_epi32(_mm256_add_epi32(v, _mm256_shuffle_epi32(v, 0xb1))), _mm256_set1_epi32(128));
}
static inline int large_fours(I v) {  // a bit for each four of 16 values
  const int a = _mm256_movemask_ps(_mm256_castsi256_ps(large_pairs(v.a))), b = _mm256_movemask_ps(_mm256_castsi256_ps(large_pairs(v.b)));
  return ((a & 15) != 0) | ((a >> 4) != 0) << 1 | ((b & 15) != 0) << 2 | ((b >> 4) != 0) << 3;
}
static inline I dot4(I sum, I w, I x) { return {dot_half(sum.a, w.a, x.a), dot_half(sum.b, w.b, x.b)}; }

// With 4-bit weights all fit, and some of them are added before they are widened.
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
