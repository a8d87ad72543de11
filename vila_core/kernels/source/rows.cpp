// What is done to each value or row between the products, in one pass over memory: bfloat16 in and out, float between.
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")
#include <immintrin.h>

#include <cmath>
#include <cstdint>

#include "exp.h"

namespace {

inline __m512 widen(const uint16_t* p) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)p)), 16));
}
inline __m256i narrow(__m512 v) { return (__m256i)_mm512_cvtneps_pbh(v); }
inline __m512 widen(__m256i v) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(v), 16)); }
inline void store(uint16_t* p, __m512 v) { _mm256_storeu_si256((__m256i*)p, narrow(v)); }
inline __m512 set(float v) { return _mm512_set1_ps(v); }

// x / (1 + e^-t)
inline __m512 gated(__m512 x, __m512 t) {
  return _mm512_div_ps(x, _mm512_add_ps(set(1.f), vila::exp16(_mm512_sub_ps(set(0.f), t))));
}

}  // namespace

// GELU with the tanh approximation; tanh(u) by e^2u. count: a multiple of 16.
extern "C" void vila_gelu(const uint16_t* x, uint16_t* y, int64_t count) {
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < count; i += 16) {
    const __m512 v = widen(x + i);
    const __m512 cube = _mm512_mul_ps(_mm512_mul_ps(v, v), v);
    const __m512 u = _mm512_mul_ps(set(0.79788456f), _mm512_fmadd_ps(set(0.044715f), cube, v));
    store(y + i, gated(v, _mm512_add_ps(u, u)));
  }
}

// silu(gate) * up. count: a multiple of 16.
extern "C" void vila_silu_mul(const uint16_t* gate, const uint16_t* up, uint16_t* y, int64_t count) {
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < count; i += 16) {
    const __m512 v = widen(gate + i);
    store(y + i, _mm512_mul_ps(gated(v, v), widen(up + i)));
  }
}

// x / rms(x), rounded, times the weight. width: a multiple of 16.
extern "C" void vila_rms_norm(const uint16_t* x, const uint16_t* weight, uint16_t* y, int64_t rows, int64_t width, float eps) {
#pragma omp parallel for schedule(static)
  for (int64_t row = 0; row < rows; row++) {
    const uint16_t* from = x + row * width;
    __m512 squares = set(0.f);
    for (int64_t i = 0; i < width; i += 16) squares = _mm512_fmadd_ps(widen(from + i), widen(from + i), squares);
    const __m512 factor = set(1.f / std::sqrt(_mm512_reduce_add_ps(squares) / (float)width + eps));
    for (int64_t i = 0; i < width; i += 16) {
      const __m512 normal = widen(narrow(_mm512_mul_ps(widen(from + i), factor)));
      store(y + row * width + i, _mm512_mul_ps(normal, widen(weight + i)));
    }
  }
}

// (x - mean) / deviation * weight + bias. width: a multiple of 16.
extern "C" void vila_layer_norm(const uint16_t* x, const uint16_t* weight, const uint16_t* bias, uint16_t* y, int64_t rows,
                                int64_t width, float eps) {
#pragma omp parallel for schedule(static)
  for (int64_t row = 0; row < rows; row++) {
    const uint16_t* from = x + row * width;
    __m512 sum = set(0.f), squares = set(0.f);
    for (int64_t i = 0; i < width; i += 16) sum = _mm512_add_ps(sum, widen(from + i));
    const __m512 mean = set(_mm512_reduce_add_ps(sum) / (float)width);
    for (int64_t i = 0; i < width; i += 16) {
      const __m512 off = _mm512_sub_ps(widen(from + i), mean);
      squares = _mm512_fmadd_ps(off, off, squares);
    }
    const __m512 factor = set(1.f / std::sqrt(_mm512_reduce_add_ps(squares) / (float)width + eps));
    for (int64_t i = 0; i < width; i += 16) {
      const __m512 normal = _mm512_mul_ps(_mm512_sub_ps(widen(from + i), mean), factor);
      store(y + row * width + i, _mm512_fmadd_ps(normal, widen(weight + i), widen(bias + i)));
    }
  }
}

// Rotary positions, half-split: heads [count, tokens, dim] with strides, cos and sin [tokens, dim]. dim: a multiple of 32.
extern "C" void vila_rotate(const uint16_t* x, const uint16_t* cos, const uint16_t* sin, uint16_t* y, int64_t count,
                            int64_t tokens, int64_t dim, int64_t head_stride, int64_t row_stride) {
  const int64_t half = dim / 2;
#pragma omp parallel for schedule(static)
  for (int64_t row = 0; row < count * tokens; row++) {
    const int64_t head = row / tokens, token = row % tokens;
    const uint16_t* from = x + head * head_stride + token * row_stride;
    uint16_t* to = y + row * dim;
    for (int64_t i = 0; i < half; i += 16) {
      const __m512 a = widen(from + i), b = widen(from + half + i);
      const uint16_t *c = cos + token * dim + i, *s = sin + token * dim + i;
      store(to + i, _mm512_fnmadd_ps(b, widen(s), _mm512_mul_ps(a, widen(c))));
      store(to + half + i, _mm512_fmadd_ps(a, widen(s + half), _mm512_mul_ps(b, widen(c + half))));
    }
  }
}
