// Attention in bfloat16 with float sums, where AVX-512 multiplies pairs of bfloat16 (Intel since 2020, AMD since Zen 4).
// Where the caller says so, queries and keys are rounded to 8 bits, each with a scale of its own: their products take half
// the time. Keys lose their mean first: softmax does not see that, and what all keys share would take the bits from what
// tells them apart.
//
// Whole rows of scores are held, so there is one softmax and no rescaling: fit for some thousand keys.
namespace pairs {

using Rows = Queries<uint16_t>;
constexpr int kRows = kAttendRows, kKeyBlocks = kAttendBlocks;
constexpr int64_t kKeys = 16 * kKeyBlocks;
constexpr int64_t kMostDims = 256;  // of a head that is rounded to 8 bits

static inline __m512bh load(const uint16_t* p) { return (__m512bh)_mm512_loadu_si512(p); }
static inline __m512 dot2(__m512 sum, __m512bh x, __m512bh w) {  // in assembly: GCC copies the sums of large tiles about otherwise
  asm("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(x), "v"(w));
  return sum;
}
static inline __m512i words(const uint16_t* p, __mmask16 there) {
  return _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(there, p));
}
static inline __m512 widen(const uint16_t* p) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)p)), 16));
}
static inline __mmask16 first_lanes(int64_t count) { return count >= 16 ? 0xffff : count <= 0 ? 0 : (__mmask16)((1 << count) - 1); }

static inline __m512 widen(const uint16_t* p, __mmask16 there) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(words(p, there), 16));
}

static inline void mean_of(const uint16_t* rows, int64_t count, int64_t stride, int64_t dim, float* mean) {
  for (int64_t d = 0; d < dim; d += 16) {
    const __mmask16 there = first_lanes(dim - d);
    __m512 sum = _mm512_setzero_ps();
    for (int64_t row = 0; row < count; row++) sum = _mm512_add_ps(sum, widen(rows + row * stride + d, there));
    _mm512_storeu_ps(mean + d, _mm512_div_ps(sum, _mm512_set1_ps((float)count)));
  }
}

// Rounds row - mean to -127..127 and adds the offset: the bytes of 4 dims at `to`, the next 4 `stride` further on, up to
// a whole vector of 16 dims. Returns the scale; sum: of the rounded values.
static inline float round_row(const uint16_t* row, const float* mean, int64_t dim, int offset, uint8_t* to, int64_t stride, int32_t& sum) {
  F most = _mm512_setzero_ps();
  for (int64_t d = 0; d < dim; d += 16)
    most = fmax_abs(most, _mm512_sub_ps(widen(row + d, first_lanes(dim - d)), _mm512_loadu_ps(mean + d)));
  const float largest = reduce_most(most);
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

static inline __m512bh pair(const uint16_t* p) {
  int32_t two;
  memcpy(&two, p, 4);
  return (__m512bh)_mm512_set1_epi32(two);
}
static inline __m256 dot2(__m256 sum, __m512bh x, __m256bh w) {
  asm("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"((__m256bh)_mm512_castsi512_si256((__m512i)x)), "v"(w));
  return sum;
}

struct Task {  // one key/value head
  const AttendCall* c;
  int64_t kv_head, keys, pairs, width;  // keys: up to a whole tile; pairs of dims; width: dims up to whole vectors
  uint16_t *k, *v;                      // [keys / 16][pairs][16][2] and [keys / 2][width][2]
  uint8_t* k8;                          // instead of k: [keys / 16][width / 4][16][4], 128 more
  float* k_scale;                       // [keys], of k8
  float* scores;                        // [kRows][keys]
  uint16_t* shares;                     // [kRows][keys]
};

static void pack_keys8(const Task& t) {
  const AttendCall& c = *t.c;
  const uint16_t* k = (const uint16_t*)c.k + t.kv_head * c.k_head;
  float mean[kMostDims];
  mean_of(k, c.keys, c.k_row, c.dim, mean);
  int32_t sum;
  for (int64_t key = 0; key < c.keys; key++)
    t.k_scale[key] = round_row(k + key * c.k_row, mean, c.dim, 128, t.k8 + (key / 16 * t.width / 4 * 16 + key % 16) * 4, 64, sum);
  for (int64_t key = c.keys; key < t.keys; key++) t.k_scale[key] = 0.f;
}

static void pack_keys(const Task& t) {
  const AttendCall& c = *t.c;
  const uint16_t* k = (const uint16_t*)c.k + t.kv_head * c.k_head;
  for (int64_t key = 0; key < t.keys; key += 16)
    for (int64_t p = 0; p < t.pairs; p += 16) {
      const __mmask16 there = first_lanes(t.pairs - p);
      F block[16];
#pragma GCC unroll 16
      for (int i = 0; i < 16; i++)
        block[i] = _mm512_castsi512_ps(_mm512_maskz_loadu_epi32(key + i < c.keys ? there : 0, k + (key + i) * c.k_row + 2 * p));
      transpose(block);
      uint16_t* to = t.k + key * 2 * t.pairs + p * 32;
      for (int i = 0; i < 16 && p + i < t.pairs; i++) _mm512_storeu_ps(to + 32 * i, block[i]);
    }
}

static void pack_values(const Task& t) {
  const AttendCall& c = *t.c;
  const uint16_t* v = (const uint16_t*)c.v + t.kv_head * c.v_head;
  for (int64_t key = 0; key < t.keys; key += 2)
    for (int64_t d = 0; d < t.width; d += 16) {
      const __mmask16 there = first_lanes(c.dim - d);
      const __m512i even = words(v + key * c.v_row + d, key < c.keys ? there : 0);
      const __m512i odd = words(v + (key + 1) * c.v_row + d, key + 1 < c.keys ? there : 0);
      _mm512_storeu_si512(t.v + key * t.width + 2 * d, _mm512_or_si512(even, _mm512_slli_epi32(odd, 16)));
    }
}

// Keep the scores of a row and 16 keys from `key` on: in powers of two, with the mask, times log2(e). Inlined, and
// attend_rows not: else the sums around them do not stay in registers.
[[gnu::always_inline]] static inline void keep(const Task& t, const Rows& rows, int r, int64_t key, __m512 s) {
  if (key + 16 > rows.open) {
    const __mmask16 there = first_lanes(rows.seen[r] - key);
    if (rows.mask[r]) s = _mm512_fmadd_ps(widen(rows.mask[r] + key, there), _mm512_set1_ps(kLog2e), s);
    s = _mm512_mask_blend_ps(there, _mm512_set1_ps(-INFINITY), s);
  }
  _mm512_storeu_ps(t.scores + r * t.keys + key, s);
}

static void score8(const Task& t, const Rows& rows) {
  const float none[kMostDims] = {};
  uint8_t q[kRows][kMostDims];
  __m512 scale[kRows];
  __m512i start[kRows];
  for (int r = 0; r < kRows; r++) {
    int32_t sum;
    scale[r] = _mm512_set1_ps(round_row(rows.q[r], none, t.c->dim, 0, q[r], 4, sum) * t.c->scale * kLog2e);
    start[r] = _mm512_set1_epi32(-128 * sum);
  }
  const int64_t fours = (t.c->dim + 3) / 4, block = t.width * 16;
  for (int64_t key = 0; key < rows.keys; key += kKeys) {
    __m512i sums[kRows][kKeyBlocks];
#pragma GCC unroll 16
    for (int r = 0; r < kRows; r++) for (auto& sum : sums[r]) sum = start[r];
    const uint8_t* k = t.k8 + key / 16 * block;
    for (int64_t i = 0; i < fours; i++) {
      __m512i w[kKeyBlocks];
      for (int b = 0; b < kKeyBlocks; b++) w[b] = _mm512_loadu_si512(k + b * block + i * 64);
#pragma GCC unroll 16
      for (int r = 0; r < kRows; r++) {
        int32_t four;
        memcpy(&four, q[r] + 4 * i, 4);
        const __m512i x = _mm512_set1_epi32(four);
        for (int b = 0; b < kKeyBlocks; b++) sums[r][b] = dot4(sums[r][b], w[b], x);
      }
    }
#pragma GCC unroll 16
    for (int b = 0; b < kKeyBlocks; b++) {
      const __m512 of_key = _mm512_loadu_ps(t.k_scale + key + 16 * b);
#pragma GCC unroll 16
      for (int r = 0; r < kRows; r++)
        keep(t, rows, r, key + 16 * b, _mm512_mul_ps(_mm512_cvtepi32_ps(sums[r][b]), _mm512_mul_ps(of_key, scale[r])));
    }
  }
}

static void score(const Task& t, const Rows& rows) {
  const __m512 scale = _mm512_set1_ps(t.c->scale * kLog2e);
  for (int64_t key = 0; key < rows.keys; key += kKeys) {
    __m512 sums[kRows][kKeyBlocks];
#pragma GCC unroll 16
    for (auto& row : sums) for (auto& sum : row) sum = _mm512_setzero_ps();
    const uint16_t* k = t.k + key / 16 * t.pairs * 32;
    for (int64_t p = 0; p < t.pairs; p++) {
      __m512bh w[kKeyBlocks];
      for (int b = 0; b < kKeyBlocks; b++) w[b] = load(k + (b * t.pairs + p) * 32);
#pragma GCC unroll 16
      for (int r = 0; r < kRows; r++) {
        const __m512bh x = pair(rows.q[r] + 2 * p);
        for (int b = 0; b < kKeyBlocks; b++) sums[r][b] = dot2(sums[r][b], x, w[b]);
      }
    }
#pragma GCC unroll 16
    for (int r = 0; r < kRows; r++)
      for (int b = 0; b < kKeyBlocks; b++) keep(t, rows, r, key + 16 * b, _mm512_mul_ps(sums[r][b], scale));
  }
}

// Softmax of each row, not yet divided; returns what to divide by.
static void share(const Task& t, const Rows& rows, float (&totals)[kRows]) {
  for (int r = 0; r < kRows; r++) {
    const float* s = t.scores + r * t.keys;
    __m512 most = _mm512_loadu_ps(s);
    for (int64_t key = 16; key < rows.keys; key += 16) most = _mm512_max_ps(most, _mm512_loadu_ps(s + key));
    const __m512 top = _mm512_set1_ps(_mm512_reduce_max_ps(most));
    __m512 total = _mm512_setzero_ps();
    for (int64_t key = 0; key < rows.keys; key += 32) {
      const __m512 a = power(_mm512_sub_ps(_mm512_loadu_ps(s + key), top));
      const __m512 b = power(_mm512_sub_ps(_mm512_loadu_ps(s + key + 16), top));
      total = _mm512_add_ps(total, _mm512_add_ps(a, b));
      _mm512_storeu_si512(t.shares + r * t.keys + key, (__m512i)_mm512_cvtne2ps_pbh(b, a));
    }
    totals[r] = _mm512_reduce_add_ps(total);
  }
}

template <int V, bool half>  // V vectors of 16 dims from `first` on, and 8 dims more if half
static void mix(const Task& t, const Rows& rows, int64_t first, const float (&totals)[kRows]) {
  __m512 sums[kRows][V];
  __m256 halves[kRows];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; r++) {
    for (auto& sum : sums[r]) sum = _mm512_setzero_ps();
    halves[r] = _mm256_setzero_ps();
  }
  const uint16_t* v = t.v + 2 * first;
  for (int64_t key = 0; key < rows.keys; key += 2) {
    __m512bh w[V];
    for (int i = 0; i < V; i++) w[i] = load(v + key * t.width + 32 * i);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; r++) {
      const __m512bh x = pair(t.shares + r * t.keys + key);
      for (int i = 0; i < V; i++) sums[r][i] = dot2(sums[r][i], x, w[i]);
      if (half) halves[r] = dot2(halves[r], x, (__m256bh)_mm256_loadu_si256((const __m256i*)(v + key * t.width + 32 * V)));
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; r++)
    for (int i = 0; i < V + half; i++) {
      const int64_t d = first + 16 * i;
      const __m512 sum = i < V ? sums[r][i] : _mm512_castps256_ps512(halves[r]);
      const __m256i bits = (__m256i)_mm512_cvtneps_pbh(_mm512_div_ps(sum, _mm512_set1_ps(totals[r])));
      if (r < rows.count) _mm256_mask_storeu_epi16(rows.out[r] + d, first_lanes(t.c->dim - d), bits);
    }
}

[[gnu::noinline]] static void attend_rows(const Task& t, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; row += kRows) {
    const Rows rows = queries_from<uint16_t>(*t.c, t.kv_head, row, end);
    float totals[kRows];
    (t.k8 ? score8 : score)(t, rows);
    share(t, rows, totals);
    int64_t d = 0;
    for (; t.width - d >= 48; d += 48) mix<3, false>(t, rows, d, totals);
    if (t.width - d == 32 && t.width - t.c->dim >= 8) mix<1, true>(t, rows, d, totals);
    else if (t.width - d == 32) mix<2, false>(t, rows, d, totals);
    else if (t.width - d == 16) mix<1, false>(t, rows, d, totals);
  }
}

static void attend(const AttendCall& c, int threads) {
  const Cut cut = cut_heads(c, threads);
  const int64_t keys = up(c.keys, kKeys), width = up(c.dim, 16);
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
  for (int64_t task = 0; task < c.kv_heads * cut.parts; task++) {
    uint8_t* bytes = scratch(kWork, 2 * keys * (2 * width) + kRows * keys * 6 + keys * 4);
    Task t{&c, task / cut.parts, keys, c.dim / 2, width, (uint16_t*)bytes, nullptr, nullptr, nullptr, nullptr, nullptr};
    t.v = t.k + keys * width;
    t.scores = (float*)(t.v + keys * width);
    t.shares = (uint16_t*)(t.scores + kRows * keys);
    t.k_scale = (float*)(t.shares + kRows * keys);
    if (c.eight_bits && c.dim <= kMostDims) {
      t.k8 = bytes;
      pack_keys8(t);
    } else {
      pack_keys(t);
    }
    pack_values(t);
    const int64_t begin = task % cut.parts * cut.size;
    attend_rows(t, begin, begin + cut.size < cut.rows ? begin + cut.size : cut.rows);
  }
}

}  // namespace pairs
