// 16 lanes in one register of AVX-512; for the files that have chosen it.
#include "fours_x86.h"

using I = __m512i;
using F = __m512;

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
static inline int32_t reduce_add(I v) { return _mm512_reduce_add_epi32(v); }
static inline F to_float(I v) { return _mm512_cvtepi32_ps(v); }
static inline I round_to_int(F v) { return _mm512_cvtps_epi32(v); }
static inline __m128i low_bytes(I v) { return _mm512_cvtepi32_epi8(v); }

static inline F fset(float v) { return _mm512_set1_ps(v); }
static inline F fload(const float* p) { return _mm512_loadu_ps(p); }
static inline F fload(const uint16_t* p) {  // bfloat16
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)p)), 16));
}
static inline F fload_half(const uint16_t* p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)p)); }
static inline F fload_bytes(const uint8_t* p) { return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i*)p))); }
static inline void fstore(float* p, F v) { _mm512_storeu_ps(p, v); }
static inline __m256i narrow(F v) {  // to nearest, ties to even
#ifdef VILA_BF16
  return (__m256i)_mm512_cvtneps_pbh(v);
#else
  const I bits = _mm512_castps_si512(v), odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  return _mm512_cvtepi32_epi16(_mm512_srli_epi32(_mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff))), 16));
#endif
}
static inline void fstore(uint16_t* p, F v) { _mm256_storeu_si256((__m256i*)p, narrow(v)); }
static inline F as_bfloat16(F v) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(narrow(v)), 16)); }
static inline F fadd(F a, F b) { return _mm512_add_ps(a, b); }
static inline F fsub(F a, F b) { return _mm512_sub_ps(a, b); }
static inline F fmul(F a, F b) { return _mm512_mul_ps(a, b); }
static inline F fadd_mul(F sum, F a, F b) { return _mm512_fmadd_ps(a, b, sum); }
static inline F fsub_mul(F sum, F a, F b) { return _mm512_fnmadd_ps(a, b, sum); }
static inline F fmax(F a, F b) { return _mm512_max_ps(a, b); }
static inline F fmin(F a, F b) { return _mm512_min_ps(a, b); }
// Absolute values are compared by their bits: NaN is above infinity there, where a maximum of floats may lose it.
static inline F fmax_abs(F most, F v) {
  return _mm512_castsi512_ps(_mm512_max_epi32(_mm512_castps_si512(most), _mm512_castps_si512(_mm512_abs_ps(v))));
}
static inline float reduce_most(F v) {  // of absolute values
  const int32_t bits = _mm512_reduce_max_epi32(_mm512_castps_si512(v));
  float most;
  memcpy(&most, &bits, 4);
  return most;
}
static inline F fround(F v) { return _mm512_roundscale_ps(v, 0); }
static inline F fpower(F p, F n) { return _mm512_scalef_ps(p, n); }  // p * 2^n, n whole, -126 to 127
static inline F fabove(F x, float limit, F v) { return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, _mm512_set1_ps(limit), _CMP_GT_OQ), v); }
static inline F finverse(F v) {
  const F guess = _mm512_rcp14_ps(v);
  return _mm512_mul_ps(guess, _mm512_fnmadd_ps(v, guess, _mm512_set1_ps(2.f)));
}
static inline float reduce_max(F v) { return _mm512_reduce_max_ps(v); }
static inline float reduce_add(F v) { return _mm512_reduce_add_ps(v); }
static inline F ffirst(F v, int64_t lanes, F other) {
  return _mm512_mask_blend_ps(lanes >= 16 ? 0xffff : lanes <= 0 ? 0 : (__mmask16)((1 << lanes) - 1), other, v);
}

static inline void transpose(F (&rows)[16]) {
  __m512i r[16], t[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; i++) r[i] = _mm512_castps_si512(rows[i]);
#pragma GCC unroll 16
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
#pragma GCC unroll 16
  for (int i = 0; i < 16; i += 4)
    for (int j = 0; j < 2; j++) {
      r[i + 2 * j] = _mm512_unpacklo_epi64(t[i + j], t[i + 2 + j]);
      r[i + 2 * j + 1] = _mm512_unpackhi_epi64(t[i + j], t[i + 2 + j]);
    }
#pragma GCC unroll 16
  for (int i = 0; i < 4; i++) {  // a quarter of r[i + 4 * j] has columns of the rows 4 * j to 4 * j + 3
    const __m512i a = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88), b = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
    const __m512i c = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd), d = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
    t[i] = _mm512_shuffle_i32x4(a, b, 0x88);
    t[i + 4] = _mm512_shuffle_i32x4(c, d, 0x88);
    t[i + 8] = _mm512_shuffle_i32x4(a, b, 0xdd);
    t[i + 12] = _mm512_shuffle_i32x4(c, d, 0xdd);
  }
#pragma GCC unroll 16
  for (int i = 0; i < 16; i++) rows[i] = _mm512_castsi512_ps(t[i]);
}
