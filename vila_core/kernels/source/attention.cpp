// Attention in bfloat16 with float sums: AVX-512 with BF16 (Intel since 2020, AMD since Zen 4).
//
// Whole rows of scores are held, so there is one softmax and no rescaling: fit for some thousand keys.
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")
#include <immintrin.h>

#include <cmath>
#include <cstdint>
#include <cstring>

#include "exp.h"
#include "kernels.h"

namespace {

constexpr int kRows = 4;         // queries that are worked on together
constexpr int kKeyBlocks = 4;    // blocks of 16 keys of a tile of scores
constexpr int64_t kKeys = 16 * kKeyBlocks;
constexpr int kChunk = 128;      // queries that share one packing of the keys at least, where there are more tasks than threads

int64_t up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

inline __m512bh pair(const uint16_t* p) {
  int32_t two;
  memcpy(&two, p, 4);
  return (__m512bh)_mm512_set1_epi32(two);
}
inline __m512bh load(const uint16_t* p) { return (__m512bh)_mm512_loadu_si512(p); }
struct Task {  // one key/value head
  const AttendCall* c;
  int64_t kv_head, keys, pairs, width;  // keys: up to a whole tile; pairs of dims; width: dims up to whole vectors
  uint16_t *k, *v;                      // [keys / 16][pairs][16][2] and [keys / 2][width][2]
  float* scores;                        // [kRows][keys]
  uint16_t* shares;                     // [kRows][keys]
};

void pack(const Task& t) {
  const AttendCall& c = *t.c;
  const uint16_t* k = c.k + t.kv_head * c.k_head;
  const uint16_t* v = c.v + t.kv_head * c.v_head;
  for (int64_t key = 0; key < t.keys; key++) {
    uint16_t* to = t.k + (key / 16) * t.pairs * 32 + (key % 16) * 2;
    const uint16_t* from = k + key * c.k_row;
    for (int64_t p = 0; p < t.pairs; p++) {
      uint32_t two = 0;
      if (key < c.keys) memcpy(&two, from + 2 * p, 4);
      memcpy(to + 32 * p, &two, 4);
    }
  }
  for (int64_t key = 0; key < t.keys; key += 2)
    for (int64_t d = 0; d < t.width; d++) {
      uint16_t* to = t.v + key * t.width + 2 * d;
      to[0] = key < c.keys && d < c.dim ? v[key * c.v_row + d] : 0;
      to[1] = key + 1 < c.keys && d < c.dim ? v[(key + 1) * c.v_row + d] : 0;
    }
}

void score(const Task& t, const uint16_t* const (&q)[kRows], const uint16_t* const (&mask)[kRows]) {
  const AttendCall& c = *t.c;
  const __m512 scale = _mm512_set1_ps(c.scale), never = _mm512_set1_ps(-INFINITY);
  for (int64_t key = 0; key < t.keys; key += kKeys) {
    __m512 sums[kRows][kKeyBlocks];
    for (auto& row : sums) for (auto& sum : row) sum = _mm512_setzero_ps();
    const uint16_t* k = t.k + key / 16 * t.pairs * 32;
    for (int64_t p = 0; p < t.pairs; p++) {
      __m512bh w[kKeyBlocks];
      for (int b = 0; b < kKeyBlocks; b++) w[b] = load(k + (b * t.pairs + p) * 32);
      for (int r = 0; r < kRows; r++) {
        const __m512bh x = pair(q[r] + 2 * p);
        for (int b = 0; b < kKeyBlocks; b++) sums[r][b] = _mm512_dpbf16_ps(sums[r][b], x, w[b]);
      }
    }
    for (int b = 0; b < kKeyBlocks; b++) {
      const int64_t at = key + 16 * b, left = c.keys - at;
      const __mmask16 there = left >= 16 ? 0xffff : left <= 0 ? 0 : (__mmask16)((1 << left) - 1);
      for (int r = 0; r < kRows; r++) {
        __m512 s = _mm512_mul_ps(sums[r][b], scale);
        if (mask[r]) {
          const __m256i bits = _mm256_maskz_loadu_epi16(there, mask[r] + at);
          s = _mm512_add_ps(s, _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16)));
        }
        _mm512_storeu_ps(t.scores + r * t.keys + at, _mm512_mask_blend_ps(there, never, s));
      }
    }
  }
}

// Softmax of each row, not yet divided; returns what to divide by.
void share(const Task& t, float (&totals)[kRows]) {
  for (int r = 0; r < kRows; r++) {
    const float* s = t.scores + r * t.keys;
    __m512 most = _mm512_loadu_ps(s);
    for (int64_t key = 16; key < t.keys; key += 16) most = _mm512_max_ps(most, _mm512_loadu_ps(s + key));
    const __m512 top = _mm512_set1_ps(_mm512_reduce_max_ps(most));
    __m512 total = _mm512_setzero_ps();
    for (int64_t key = 0; key < t.keys; key += 32) {
      const __m512 a = vila::exp16(_mm512_sub_ps(_mm512_loadu_ps(s + key), top));
      const __m512 b = vila::exp16(_mm512_sub_ps(_mm512_loadu_ps(s + key + 16), top));
      total = _mm512_add_ps(total, _mm512_add_ps(a, b));
      _mm512_storeu_si512(t.shares + r * t.keys + key, (__m512i)_mm512_cvtne2ps_pbh(b, a));
    }
    totals[r] = _mm512_reduce_add_ps(total);
  }
}

template <int V>  // V vectors of 16 dims from `first` on
void mix(const Task& t, int64_t first, const float (&totals)[kRows], uint16_t* const (&out)[kRows], int rows) {
  __m512 sums[kRows][V];
  for (auto& row : sums) for (auto& sum : row) sum = _mm512_setzero_ps();
  const uint16_t* v = t.v + 2 * first;
  for (int64_t key = 0; key < t.keys; key += 2) {
    __m512bh w[V];
    for (int i = 0; i < V; i++) w[i] = load(v + key * t.width + 32 * i);
    for (int r = 0; r < kRows; r++) {
      const __m512bh x = pair(t.shares + r * t.keys + key);
      for (int i = 0; i < V; i++) sums[r][i] = _mm512_dpbf16_ps(sums[r][i], x, w[i]);
    }
  }
  for (int r = 0; r < rows; r++)
    for (int i = 0; i < V; i++) {
      const int64_t d = first + 16 * i, left = t.c->dim - d;
      const __mmask16 there = left >= 16 ? 0xffff : (__mmask16)((1 << left) - 1);
      const __m256i bits = (__m256i)_mm512_cvtneps_pbh(_mm512_div_ps(sums[r][i], _mm512_set1_ps(totals[r])));
      _mm256_mask_storeu_epi16(out[r] + d, there, bits);
    }
}

void attend_rows(const Task& t, int64_t begin, int64_t end) {
  const AttendCall& c = *t.c;
  const int64_t group = c.heads / c.kv_heads;
  for (int64_t row = begin; row < end; row += kRows) {
    const uint16_t *q[kRows], *mask[kRows];
    uint16_t* out[kRows];
    const int rows = end - row < kRows ? (int)(end - row) : kRows;
    for (int r = 0; r < kRows; r++) {
      const int64_t at = row + (r < rows ? r : 0), head = t.kv_head * group + at / c.queries, query = at % c.queries;
      q[r] = c.q + head * c.q_head + query * c.q_row;
      mask[r] = c.mask ? c.mask + query * c.keys : nullptr;
      out[r] = c.out + head * c.out_head + query * c.out_row;
    }
    float totals[kRows];
    score(t, q, mask);
    share(t, totals);
    for (int64_t d = 0; d < t.width;) {
      const int64_t left = (t.width - d) / 16;
      if (left == 5) { mix<5>(t, d, totals, out, rows); d += 80; }
      else if (left >= 4) { mix<4>(t, d, totals, out, rows); d += 64; }
      else if (left == 3) { mix<3>(t, d, totals, out, rows); d += 48; }
      else if (left == 2) { mix<2>(t, d, totals, out, rows); d += 32; }
      else { mix<1>(t, d, totals, out, rows); d += 16; }
    }
  }
}

}  // namespace

extern "C" int vila_has_bf16() {
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512bw");
}

extern "C" void vila_attend(const AttendCall* call, int threads) {
  const AttendCall& c = *call;
  const int64_t rows = c.heads / c.kv_heads * c.queries;
  int64_t chunks = 1;
  while (c.kv_heads * chunks < 2 * threads && rows / (chunks + 1) >= kChunk) chunks++;
  const int64_t size = up((rows + chunks - 1) / chunks, kRows);
  const int64_t keys = up(c.keys, kKeys), width = up(c.dim, 16);
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
  for (int64_t task = 0; task < c.kv_heads * chunks; task++) {
    uint8_t* bytes = thread_scratch(2 * keys * (c.dim + width) + kRows * keys * 6 + 256);
    Task t{call, task / chunks, keys, c.dim / 2, width, (uint16_t*)bytes, nullptr, nullptr, nullptr};
    t.v = (uint16_t*)(bytes + up(2 * keys * c.dim, 64));
    t.scores = (float*)((uint8_t*)t.v + up(2 * keys * width, 64));
    t.shares = (uint16_t*)(t.scores + kRows * keys);
    pack(t);
    const int64_t begin = task % chunks * size, end = begin + size < rows ? begin + size : rows;
    attend_rows(t, begin, end);
  }
}
