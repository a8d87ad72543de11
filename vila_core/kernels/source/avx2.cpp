// AVX2: every x86 laptop since about 2015.
#pragma GCC target("avx2,fma")
#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "kernels.h"

namespace vila_avx2 {

#include "avx2_ops.h"

constexpr int kRows = 2, kBlocks = 1, kDirectRows = 2;

// Unsigned by signed bytes in pairs would overflow 16 bits with 8-bit weights: the pairs are widened first.
static inline __m256i dot_half(__m256i sum, __m256i w, __m256i x) {
  const __m256i even = _mm256_madd_epi16(_mm256_and_si256(w, _mm256_set1_epi16(255)), _mm256_srai_epi16(_mm256_slli_epi16(x, 8), 8));
  const __m256i odd = _mm256_madd_epi16(_mm256_srli_epi16(w, 8), _mm256_srai_epi16(x, 8));
  return _mm256_add_epi32(sum, _mm256_add_epi32(even, odd));
}
static inline I dot4(I sum, I w, I x) { return {dot_half(sum.a, w.a, x.a), dot_half(sum.b, w.b, x.b)}; }

#include "linear.h"

}  // namespace vila_avx2
