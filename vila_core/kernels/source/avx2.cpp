// AVX2: every x86 laptop since about 2015.
#pragma GCC target("avx2,fma,f16c")
#include <immintrin.h>
#include <omp.h>

#include <cstdint>
#include <cstring>

#include "kernels.h"

namespace vila_avx2 {

#include "avx2_ops.h"

constexpr int kRows = 4, kBlocks = 1, kDirectRows = 4, kDirectTokens = 8;

// Unsigned by signed bytes in pairs would overflow 16 bits with 8-bit weights: the pairs are widened first.
static inline __m256i dot_half(__m256i sum, __m256i w, __m256i x) {
  const __m256i even = _mm256_madd_epi16(_mm256_and_si256(w, _mm256_set1_epi16(255)), _mm256_srai_epi16(_mm256_slli_epi16(x, 8), 8));
  const __m256i odd = _mm256_madd_epi16(_mm256_srli_epi16(w, 8), _mm256_srai_epi16(x, 8));
  return _mm256_add_epi32(sum, _mm256_add_epi32(even, odd));
}
static inline I dot4(I sum, I w, I x) { return {dot_half(sum.a, w.a, x.a), dot_half(sum.b, w.b, x.b)}; }

// With 4-bit weights they cannot overflow: 2 x 255 x 15 at most.
static inline __m256i dot_half_nibbles(__m256i sum, __m256i w, __m256i x) {
  return _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(w, x), _mm256_set1_epi16(1)));
}
static inline I dot4_nibbles(I sum, I w, I x) { return {dot_half_nibbles(sum.a, w.a, x.a), dot_half_nibbles(sum.b, w.b, x.b)}; }

#include "linear.h"

}  // namespace vila_avx2
