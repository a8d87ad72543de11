// What is done to each value or row between the products, in one pass over memory: bfloat16 in and out, float between.
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")
#include <immintrin.h>

#include <cmath>
#include <cstdint>

#include "exp.h"
#include "kernels.h"

namespace {

constexpr int64_t kLittle = 8192;  // values that one thread is done with before others are awake
constexpr float kLog2e = 1.44269504f;

inline __m512 widen(const uint16_t* p) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)p)), 16));
}
inline __m256i narrow(__m512 v) { return (__m256i)_mm512_cvtneps_pbh(v); }
inline __m512 widen(__m256i v) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(v), 16)); }
inline void store(uint16_t* p, __m512 v) { _mm256_storeu_si256((__m256i*)p, narrow(v)); }
inline __m512 set(float v) { return _mm512_set1_ps(v); }

// x / (1 + 2^-t); what is left where 2^-t overflows is far below what is added to it.
inline __m512 gated(__m512 x, __m512 t) {
  const __m512 below = _mm512_add_ps(set(1.f), vila::power16(_mm512_min_ps(_mm512_sub_ps(set(0.f), t), set(126.f))));
  const __m512 guess = _mm512_rcp14_ps(below);
  return _mm512_mul_ps(x, _mm512_mul_ps(guess, _mm512_fnmadd_ps(below, guess, set(2.f))));
}

inline void add_row(const uint16_t* x, const uint16_t* added, uint16_t* y, int64_t width) {
  for (int64_t i = 0; i < width; i += 16) store(y + i, _mm512_add_ps(widen(x + i), widen(added + i)));
}

inline void rms_norm_row(const uint16_t* x, const uint16_t* weight, uint16_t* y, int64_t width, float eps) {
  __m512 squares = set(0.f);
  for (int64_t i = 0; i < width; i += 16) squares = _mm512_fmadd_ps(widen(x + i), widen(x + i), squares);
  const __m512 factor = set(1.f / std::sqrt(_mm512_reduce_add_ps(squares) / (float)width + eps));
  for (int64_t i = 0; i < width; i += 16) {
    const __m512 normal = widen(narrow(_mm512_mul_ps(widen(x + i), factor)));
    store(y + i, _mm512_mul_ps(normal, widen(weight + i)));
  }
}

inline void layer_norm_row(const uint16_t* x, const uint16_t* weight, const uint16_t* bias, uint16_t* y, int64_t width, float eps) {
  __m512 sum = set(0.f), squares = set(0.f);
  for (int64_t i = 0; i < width; i += 16) sum = _mm512_add_ps(sum, widen(x + i));
  const __m512 mean = set(_mm512_reduce_add_ps(sum) / (float)width);
  for (int64_t i = 0; i < width; i += 16) {
    const __m512 off = _mm512_sub_ps(widen(x + i), mean);
    squares = _mm512_fmadd_ps(off, off, squares);
  }
  const __m512 factor = set(1.f / std::sqrt(_mm512_reduce_add_ps(squares) / (float)width + eps));
  for (int64_t i = 0; i < width; i += 16) {
    const __m512 normal = _mm512_mul_ps(_mm512_sub_ps(widen(x + i), mean), factor);
    store(y + i, _mm512_fmadd_ps(normal, widen(weight + i), widen(bias + i)));
  }
}

}  // namespace

// GELU with the tanh approximation; tanh(u) by e^2u. count: a multiple of 16.
extern "C" void vila_gelu(const uint16_t* x, uint16_t* y, int64_t count) {
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < count; i += 16) {
    const __m512 v = widen(x + i);
    const __m512 cube = _mm512_mul_ps(_mm512_mul_ps(v, v), v);
    const __m512 u = _mm512_mul_ps(set(2 * 0.79788456f * kLog2e), _mm512_fmadd_ps(set(0.044715f), cube, v));
    store(y + i, gated(v, u));
  }
}

// silu(gate) * up. count: a multiple of 16.
extern "C" void vila_silu_mul(const uint16_t* gate, const uint16_t* up, uint16_t* y, int64_t count) {
#pragma omp parallel for schedule(static) if (count > kLittle)
  for (int64_t i = 0; i < count; i += 16) {
    const __m512 v = widen(gate + i);
    store(y + i, _mm512_mul_ps(gated(v, _mm512_mul_ps(v, set(kLog2e))), widen(up + i)));
  }
}

// x / rms(x), rounded, times the weight. width: a multiple of 16.
extern "C" void vila_rms_norm(const uint16_t* x, const uint16_t* weight, uint16_t* y, int64_t rows, int64_t width, float eps) {
#pragma omp parallel for schedule(static) if (rows * width > kLittle)
  for (int64_t row = 0; row < rows; row++) rms_norm_row(x + row * width, weight, y + row * width, width, eps);
}

// x += added, and then as vila_rms_norm.
extern "C" void vila_add_rms_norm(uint16_t* x, const uint16_t* added, const uint16_t* weight, uint16_t* y, int64_t rows, int64_t width,
                                  float eps) {
#pragma omp parallel for schedule(static) if (rows * width > kLittle)
  for (int64_t row = 0; row < rows; row++) {
    add_row(x + row * width, added + row * width, x + row * width, width);
    rms_norm_row(x + row * width, weight, y + row * width, width, eps);
  }
}

// (x - mean) / deviation * weight + bias. width: a multiple of 16.
extern "C" void vila_layer_norm(const uint16_t* x, const uint16_t* weight, const uint16_t* bias, uint16_t* y, int64_t rows,
                                int64_t width, float eps) {
#pragma omp parallel for schedule(static)
  for (int64_t row = 0; row < rows; row++) layer_norm_row(x + row * width, weight, bias, y + row * width, width, eps);
}

// x += added, and then as vila_layer_norm, unless there is no weight.
extern "C" void vila_add_layer_norm(uint16_t* x, const uint16_t* added, const uint16_t* weight, const uint16_t* bias, uint16_t* y,
                                    int64_t rows, int64_t width, float eps) {
#pragma omp parallel for schedule(static)
  for (int64_t row = 0; row < rows; row++) {
    add_row(x + row * width, added + row * width, x + row * width, width);
    if (weight) layer_norm_row(x + row * width, weight, bias, y + row * width, width, eps);
  }
}

// Rotary positions, half-split: heads [count, tokens, dim] with strides, cos and sin [tokens, dim]. dim: a multiple of 32.
extern "C" void vila_rotate(const uint16_t* x, const uint16_t* cos, const uint16_t* sin, uint16_t* y, int64_t count,
                            int64_t tokens, int64_t dim, int64_t head_stride, int64_t row_stride) {
  const int64_t half = dim / 2;
#pragma omp parallel for schedule(static) if (count * tokens * dim > kLittle)
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
