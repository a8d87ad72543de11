// Queries and keys rounded to 8 bits, each with a scale of its own, for attention.cpp: their products take half the time.
//
// Keys lose their mean first. Softmax does not see that, and what all keys share would take the bits from what tells
// them apart.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "bf16.h"

namespace vila {

inline __m512i dot4(__m512i sum, __m512i w, __m512i x) {  // in assembly, as dot2
  asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(w), "v"(x));
  return sum;
}
inline __m512 widen(const uint16_t* p, __mmask16 there) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(words(p, there), 16));
}

inline void mean_of(const uint16_t* rows, int64_t count, int64_t stride, int64_t dim, float* mean) {
  for (int64_t d = 0; d < dim; d += 16) {
    const __mmask16 there = first_lanes(dim - d);
    __m512 sum = _mm512_setzero_ps();
    for (int64_t row = 0; row < count; row++) sum = _mm512_add_ps(sum, widen(rows + row * stride + d, there));
    _mm512_storeu_ps(mean + d, _mm512_div_ps(sum, _mm512_set1_ps((float)count)));
  }
}

// Rounds row - mean to -127..127 and adds the offset: the bytes of 4 dims at `to`, the next 4 `stride` further on, up to
// a whole vector of 16 dims. Returns the scale; sum: of the rounded values.
inline float round_row(const uint16_t* row, const float* mean, int64_t dim, int offset, uint8_t* to, int64_t stride, int32_t& sum) {
  __m512 most = _mm512_setzero_ps();
  for (int64_t d = 0; d < dim; d += 16)
    most = _mm512_max_ps(most, _mm512_abs_ps(_mm512_sub_ps(widen(row + d, first_lanes(dim - d)), _mm512_loadu_ps(mean + d))));
  const float largest = _mm512_reduce_max_ps(most);
  const __m512 inverse = _mm512_set1_ps(largest > 0.f ? 127.f / largest : 0.f);
  __m512i total = _mm512_setzero_si512();
  for (int64_t d = 0; d < dim; d += 16) {
    const __m512 v = _mm512_sub_ps(widen(row + d, first_lanes(dim - d)), _mm512_loadu_ps(mean + d));
    const __m512i rounded = _mm512_cvtps_epi32(_mm512_mul_ps(v, inverse));
    total = _mm512_add_epi32(total, rounded);
    int32_t fours[4];
    _mm_storeu_si128((__m128i*)fours, _mm512_cvtepi32_epi8(_mm512_add_epi32(rounded, _mm512_set1_epi32(offset))));
    for (int i = 0; i < 4; i++) memcpy(to + (d / 4 + i) * stride, fours + i, 4);
  }
  sum = _mm512_reduce_add_epi32(total);
  return largest / 127.f;
}

}  // namespace vila
