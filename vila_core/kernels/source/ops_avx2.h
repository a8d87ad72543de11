// 16 lanes as two halves of 8: what AVX2 and AVX-VNNI have in common. dot4 and the tile are the including file's.
#include "fours_x86.h"

struct I { __m256i a, b; };
struct F { __m256 a, b; };

static inline I izero() { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
static inline I iset(int32_t v) { return {_mm256_set1_epi32(v), _mm256_set1_epi32(v)}; }
static inline I bset(int v) { return {_mm256_set1_epi8((char)v), _mm256_set1_epi8((char)v)}; }
static inline I iload(const uint8_t* p) { return {_mm256_loadu_si256((const __m256i*)p), _mm256_loadu_si256((const __m256i*)(p + 32))}; }
static inline void istore(uint8_t* p, I v) {
  _mm256_storeu_si256((__m256i*)p, v.a);
  _mm256_storeu_si256((__m256i*)(p + 32), v.b);
}
static inline I iadd(I x, I y) { return {_mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b)}; }
static inline I isub(I x, I y) { return {_mm256_sub_epi32(x.a, y.a), _mm256_sub_epi32(x.b, y.b)}; }
static inline I bsub(I x, I y) { return {_mm256_sub_epi8(x.a, y.a), _mm256_sub_epi8(x.b, y.b)}; }
static inline I widen_bytes(const uint8_t* p) {
  return {_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)p)), _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)(p + 8)))};
}
static inline I four_times(const uint8_t* p) {  // 16 bytes, each in all bytes of its lane
  const I v = widen_bytes(p);
  const __m256i all = _mm256_set1_epi32(0x01010101);
  return {_mm256_mullo_epi32(v.a, all), _mm256_mullo_epi32(v.b, all)};
}
static inline I low_nibbles(I v) {
  const __m256i low = _mm256_set1_epi8(15);
  return {_mm256_and_si256(v.a, low), _mm256_and_si256(v.b, low)};
}
static inline I high_nibbles(I v) { return low_nibbles({_mm256_srli_epi16(v.a, 4), _mm256_srli_epi16(v.b, 4)}); }
static inline I broadcast4(const int8_t* p) {
  int32_t four;
  memcpy(&four, p, 4);
  const __m256i v = _mm256_set1_epi32(four);
  return {v, v};
}
// sum += w * x, of 16 bits, pairs added. In assembly: GCC would make all products of a tile first, which the registers
// don't hold.
static inline __m256i dot2_half(__m256i sum, __m256i w, __m256i x) {
  __m256i products;
  asm("vpmaddwd %3, %2, %1\n\tvpaddd %1, %0, %0" : "+x"(sum), "=&x"(products) : "x"(w), "x"(x));
  return sum;
}
static inline I dot2(I sum, I w, I x) { return {dot2_half(sum.a, w.a, x.a), dot2_half(sum.b, w.b, x.b)}; }
static inline __m256i pair_half(__m256i even, __m256i odd) { return _mm256_blend_epi16(even, _mm256_slli_epi32(odd, 16), 0xaa); }
static inline I pair_words(I even, I odd) { return {pair_half(even.a, odd.a), pair_half(even.b, odd.b)}; }
static inline F fset(float v) { return {_mm256_set1_ps(v), _mm256_set1_ps(v)}; }
static inline F fload(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
static inline F fload_half(const uint16_t* p) {
  return {_mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p)), _mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)(p + 8)))};
}
static inline F fload_bytes(const uint8_t* p) {
  const I v = widen_bytes(p);
  return {_mm256_cvtepi32_ps(v.a), _mm256_cvtepi32_ps(v.b)};
}
static inline void fstore(float* p, F v) {
  _mm256_storeu_ps(p, v.a);
  _mm256_storeu_ps(p + 8, v.b);
}
static inline F fmul(F x, F y) { return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)}; }
static inline F fadd_mul(F s, F x, F y) { return {_mm256_fmadd_ps(x.a, y.a, s.a), _mm256_fmadd_ps(x.b, y.b, s.b)}; }
static inline F fsub_mul(F s, F x, F y) { return {_mm256_fnmadd_ps(x.a, y.a, s.a), _mm256_fnmadd_ps(x.b, y.b, s.b)}; }
// Absolute values are compared by their bits: NaN is above infinity there, where a maximum of floats may lose it.
static inline __m256 most_half(__m256 a, __m256 b) {
  return _mm256_castsi256_ps(_mm256_max_epi32(_mm256_castps_si256(a), _mm256_castps_si256(b)));
}
static inline F fmax_abs(F most, F v) {
  const __m256 sign = _mm256_set1_ps(-0.f);
  return {most_half(most.a, _mm256_andnot_ps(sign, v.a)), most_half(most.b, _mm256_andnot_ps(sign, v.b))};
}
static inline float reduce_most(F v) {  // of absolute values
  const __m256i eight = _mm256_castps_si256(most_half(v.a, v.b));
  const __m128i four = _mm_max_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
  const __m128i two = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0x4e));
  return _mm_cvtss_f32(_mm_castsi128_ps(_mm_max_epi32(two, _mm_shuffle_epi32(two, 0xb1))));
}
static inline float reduce_max(F v) {
  const __m256 eight = _mm256_max_ps(v.a, v.b);
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}
static inline float reduce_add(F v) {
  const __m256 eight = _mm256_add_ps(v.a, v.b);
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
static inline int32_t reduce_add(I v) {
  const __m256i eight = _mm256_add_epi32(v.a, v.b);
  const __m128i four = _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
  const __m128i two = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 0xb1)));
}
static inline F to_float(I v) { return {_mm256_cvtepi32_ps(v.a), _mm256_cvtepi32_ps(v.b)}; }
static inline I round_to_int(F v) { return {_mm256_cvtps_epi32(v.a), _mm256_cvtps_epi32(v.b)}; }
static inline __m128i low_bytes(I v) {
  const __m256i byte = _mm256_set1_epi32(255);
  const __m256i words = _mm256_packs_epi32(_mm256_and_si256(v.a, byte), _mm256_and_si256(v.b, byte));  // halves crossed
  const __m256i sorted = _mm256_permute4x64_epi64(words, 0xd8);
  return _mm_packus_epi16(_mm256_castsi256_si128(sorted), _mm256_extracti128_si256(sorted, 1));
}
static inline void low_words(I v, __m128i& first, __m128i& second) {  // of 8 lanes each
  const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(v.a, v.b), 0xd8);
  first = _mm256_castsi256_si128(words);
  second = _mm256_extracti128_si256(words, 1);
}
static inline F fload(const uint16_t* p) {  // bfloat16
  const __m256i low = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)p));
  const __m256i high = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)(p + 8)));
  return {_mm256_castsi256_ps(_mm256_slli_epi32(low, 16)), _mm256_castsi256_ps(_mm256_slli_epi32(high, 16))};
}
static inline __m256i rounded_half(__m256 v) {  // to bfloat16, to nearest, ties to even
  const __m256i bits = _mm256_castps_si256(v), odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  return _mm256_srli_epi32(_mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff))), 16);
}
static inline void fstore(uint16_t* p, F v) {
  const __m256i crossed = _mm256_packus_epi32(rounded_half(v.a), rounded_half(v.b));
  _mm256_storeu_si256((__m256i*)p, _mm256_permute4x64_epi64(crossed, 0xd8));
}
static inline __m256 kept_half(__m256 v) { return _mm256_castsi256_ps(_mm256_slli_epi32(rounded_half(v), 16)); }
static inline F as_bfloat16(F v) { return {kept_half(v.a), kept_half(v.b)}; }
static inline F fadd(F x, F y) { return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)}; }
static inline F fsub(F x, F y) { return {_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)}; }
static inline F fmax(F x, F y) { return {_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)}; }
static inline F fmin(F x, F y) { return {_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)}; }
static inline F fround(F v) { return {_mm256_round_ps(v.a, 8), _mm256_round_ps(v.b, 8)}; }
static inline __m256 power_half(__m256 p, __m256 n) {
  return _mm256_mul_ps(p, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23)));
}
static inline F fpower(F p, F n) { return {power_half(p.a, n.a), power_half(p.b, n.b)}; }  // p * 2^n, n whole, -126 to 127
static inline F fabove(F x, float limit, F v) {
  const __m256 l = _mm256_set1_ps(limit);
  return {_mm256_and_ps(_mm256_cmp_ps(x.a, l, _CMP_GT_OQ), v.a), _mm256_and_ps(_mm256_cmp_ps(x.b, l, _CMP_GT_OQ), v.b)};
}
static inline __m256 inverse_half(__m256 v) {
  const __m256 guess = _mm256_rcp_ps(v);
  return _mm256_mul_ps(guess, _mm256_fnmadd_ps(v, guess, _mm256_set1_ps(2.f)));
}
static inline F finverse(F v) { return {inverse_half(v.a), inverse_half(v.b)}; }
static inline F ffirst(F v, int64_t lanes, F other) {
  const __m256i last = _mm256_set1_epi32(lanes > 16 ? 16 : (int)lanes);
  const __m256i a = _mm256_cmpgt_epi32(last, _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  const __m256i b = _mm256_cmpgt_epi32(last, _mm256_setr_epi32(8, 9, 10, 11, 12, 13, 14, 15));
  return {_mm256_blendv_ps(other.a, v.a, _mm256_castsi256_ps(a)), _mm256_blendv_ps(other.b, v.b, _mm256_castsi256_ps(b))};
}

static inline void transpose_eight(__m256 (&r)[8]) {
  __m256 t[8];
#pragma GCC unroll 8
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
    t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
  }
#pragma GCC unroll 8
  for (int i = 0; i < 8; i += 4)
    for (int j = 0; j < 2; j++) {
      r[i + 2 * j] = _mm256_shuffle_ps(t[i + j], t[i + 2 + j], 0x44);
      r[i + 2 * j + 1] = _mm256_shuffle_ps(t[i + j], t[i + 2 + j], 0xee);
    }
#pragma GCC unroll 8
  for (int i = 0; i < 4; i++) {
    t[i] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x20);
    t[i + 4] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x31);
  }
#pragma GCC unroll 8
  for (int i = 0; i < 8; i++) r[i] = t[i];
}
static inline void transpose(F (&rows)[16]) {
  __m256 quarters[4][8];  // upper left, upper right, lower left, lower right
  for (int i = 0; i < 8; i++) {
    quarters[0][i] = rows[i].a;
    quarters[1][i] = rows[i].b;
    quarters[2][i] = rows[8 + i].a;
    quarters[3][i] = rows[8 + i].b;
  }
  for (auto& quarter : quarters) transpose_eight(quarter);
  for (int i = 0; i < 8; i++) {
    rows[i] = {quarters[0][i], quarters[2][i]};
    rows[8 + i] = {quarters[1][i], quarters[3][i]};
  }
}
