// For files that have chosen AVX-512.
#pragma once

#include <immintrin.h>

#include <initializer_list>

namespace vila {

// 2^x for x <= 127, relative error about 2e-6: for what is rounded to bfloat16 afterwards.
static inline __m512 power16(__m512 x) {
  x = _mm512_max_ps(x, _mm512_set1_ps(-150.f));
  const __m512 n = _mm512_roundscale_ps(x, 0);
  x = _mm512_sub_ps(x, n);
  __m512 p = _mm512_set1_ps(1.33335581e-3f);
  for (const float c : {9.61812911e-3f, 5.55041087e-2f, 2.40226507e-1f, 6.93147181e-1f, 1.f})
    p = _mm512_fmadd_ps(p, x, _mm512_set1_ps(c));
  return _mm512_scalef_ps(p, n);
}

}  // namespace vila
