// AVX-VNNI: laptops since 2021.
#pragma GCC target("avx2,fma,f16c,avxvnni")
#include <immintrin.h>
#include <omp.h>

#include <cstdint>
#include <cstring>

#include "kernels.h"

namespace vila_avxvnni {

#include "avx2_ops.h"

constexpr int kRows = 5, kBlocks = 1, kDirectRows = 5, kDirectTokens = 20;

static inline I dot4(I sum, I w, I x) { return {_mm256_dpbusd_avx_epi32(sum.a, w.a, x.a), _mm256_dpbusd_avx_epi32(sum.b, w.b, x.b)}; }
static inline I dot4_nibbles(I sum, I w, I x) { return dot4(sum, w, x); }

#include "linear.h"

}  // namespace vila_avxvnni
