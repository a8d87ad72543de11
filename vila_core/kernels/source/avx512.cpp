// AVX-512 with VNNI: servers since 2019, laptops of some years, AMD since Zen 4.
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")
#include <immintrin.h>
#include <omp.h>

#include <cstdint>
#include <cstring>

#include "kernels.h"

namespace vila_avx512 {

using I = __m512i;
using F = __m512;
constexpr int kRows = 6, kBlocks = 2, kDirectRows = 12, kDirectTokens = 24;

static inline I izero() { return _mm512_setzero_si512(); }
static inline I iset(int32_t v) { return _mm512_set1_epi32(v); }
static inline I bset(int v) { return _mm512_set1_epi8((char)v); }
static inline I iload(const uint8_t* p) { return _mm512_loadu_si512(p); }
static inline void istore(uint8_t* p, I v) { _mm512_storeu_si512(p, v); }
static inline I iadd(I a, I b) { return _mm512_add_epi32(a, b); }
static inline I isub(I a, I b) { return _mm512_sub_epi32(a, b); }
static inline I bsub(I a, I b) { return _mm512_sub_epi8(a, b); }
static inline I four_times(const uint8_t* p) {  // 16 bytes, each in all bytes of its lane
  return _mm512_mullo_epi32(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i*)p)), _mm512_set1_epi32(0x01010101));
}
static inline I low_nibbles(I v) { return _mm512_and_si512(v, _mm512_set1_epi8(15)); }
static inline I high_nibbles(I v) { return _mm512_and_si512(_mm512_srli_epi16(v, 4), _mm512_set1_epi8(15)); }
static inline I broadcast4(const int8_t* p) {
  int32_t four;
  memcpy(&four, p, 4);
  return _mm512_set1_epi32(four);
}
static inline I dot4(I sum, I w, I x) {  // in assembly: GCC copies the sums of large tiles about when given the intrinsic
  asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(w), "v"(x));
  return sum;
}
static inline I dot4_nibbles(I sum, I w, I x) { return dot4(sum, w, x); }
static inline F fset(float v) { return _mm512_set1_ps(v); }
static inline F fload(const float* p) { return _mm512_loadu_ps(p); }
static inline F fload_half(const uint16_t* p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)p)); }
static inline F fload_bytes(const uint8_t* p) { return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i*)p))); }
static inline void fstore(float* p, F v) { _mm512_storeu_ps(p, v); }
static inline F fmul(F a, F b) { return _mm512_mul_ps(a, b); }
static inline F fadd_mul(F sum, F a, F b) { return _mm512_fmadd_ps(a, b, sum); }
static inline F fsub_mul(F sum, F a, F b) { return _mm512_fnmadd_ps(a, b, sum); }
static inline F fmax_abs(F most, F v) { return _mm512_max_ps(most, _mm512_abs_ps(v)); }
static inline float reduce_max(F v) { return _mm512_reduce_max_ps(v); }
static inline int32_t reduce_add(I v) { return _mm512_reduce_add_epi32(v); }
static inline F to_float(I v) { return _mm512_cvtepi32_ps(v); }
static inline I round_to_int(F v) { return _mm512_cvtps_epi32(v); }
static inline __m128i low_bytes(I v) { return _mm512_cvtepi32_epi8(v); }
static inline F load_bf16(const uint16_t* p) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)p)), 16));
}
static inline void store_bf16(uint16_t* p, F v) {  // to nearest, ties to even
  const I bits = _mm512_castps_si512(v);
  const I odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const I rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
  _mm256_storeu_si256((__m256i*)p, _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16)));
}

#include "linear.h"

}  // namespace vila_avx512
