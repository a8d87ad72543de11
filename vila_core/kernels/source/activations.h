// Activations rounded to 8 bits for each token and group, for one instruction set; see linear.h.
//
// Tokens are cut into tiles of nearly equal size. A tile's values lie as the products read them: for 4 inputs, 4 bytes
// of each of its tokens.

static inline F load_in(const Call& c, int64_t at) {
  return c.bfloat16 ? load_bf16((const uint16_t*)c.x + at) : fload((const float*)c.x + at);
}

static int64_t tiles(const Call& c, const Quantised& a) { return (c.tokens + a.rows - 1) / a.rows; }
static int64_t first_of(const Call& c, const Quantised& a, int64_t tile) { return tile * c.tokens / tiles(c, a); }

// 16 bytes of each of R rows that lie side by side, four by four: at p, at p + stride, ...
template <int R>
static inline void store_fours(int8_t* p, int64_t stride, const __m128i (&rows)[R]) {
  if constexpr (R == 4) {
    const __m128i a = _mm_unpacklo_epi32(rows[0], rows[1]), b = _mm_unpacklo_epi32(rows[2], rows[3]);
    const __m128i c = _mm_unpackhi_epi32(rows[0], rows[1]), d = _mm_unpackhi_epi32(rows[2], rows[3]);
    _mm_storeu_si128((__m128i*)p, _mm_unpacklo_epi64(a, b));
    _mm_storeu_si128((__m128i*)(p + stride), _mm_unpackhi_epi64(a, b));
    _mm_storeu_si128((__m128i*)(p + 2 * stride), _mm_unpacklo_epi64(c, d));
    _mm_storeu_si128((__m128i*)(p + 3 * stride), _mm_unpackhi_epi64(c, d));
  } else if constexpr (R == 2) {
    const __m128i low = _mm_unpacklo_epi32(rows[0], rows[1]), high = _mm_unpackhi_epi32(rows[0], rows[1]);
    _mm_storel_epi64((__m128i*)p, low);
    _mm_storel_epi64((__m128i*)(p + stride), _mm_unpackhi_epi64(low, low));
    _mm_storel_epi64((__m128i*)(p + 2 * stride), high);
    _mm_storel_epi64((__m128i*)(p + 3 * stride), _mm_unpackhi_epi64(high, high));
  } else {
    int32_t fours[4];
    _mm_storeu_si128((__m128i*)fours, rows[0]);
    for (int i = 0; i < 4; i++) memcpy(p + i * stride, fours + i, 4);
  }
}

// R rows from `row` on, of the `rows` in the tile that begins with token `first`.
template <int R>
static void quantise_rows(const Call& c, const Quantised& a, int64_t first, int64_t rows, int64_t row) {
  const int64_t groups = c.inputs / c.group;
  int8_t* q = a.q + first * c.inputs + 4 * row;
  const I offset = iset(a.shifted ? 128 : 0);
  for (int64_t g = 0; g < groups; g++) {
    const int64_t at = (first + row) * c.inputs + g * c.group, of = first * groups + g * rows + row;
    float largest[R];
    F inverse[R];
    I total[R];
    for (int r = 0; r < R; r++) {
      F most = fset(0.f);
      for (int64_t i = 0; i < c.group; i += 16) most = fmax_abs(most, load_in(c, at + r * c.inputs + i));
      largest[r] = reduce_max(most);
      inverse[r] = fset(largest[r] > 0.f ? 127.f / largest[r] : 0.f);
      total[r] = izero();
    }
    for (int64_t i = 0; i < c.group; i += 16) {
      __m128i bytes[R];
#pragma GCC unroll 4
      for (int r = 0; r < R; r++) {
        const I rounded = round_to_int(fmul(load_in(c, at + r * c.inputs + i), inverse[r]));
        total[r] = iadd(total[r], rounded);
        bytes[r] = low_bytes(iadd(rounded, offset));
      }
      store_fours(q + (g * c.group + i) * rows, 4 * rows, bytes);
    }
    for (int r = 0; r < R; r++) {
      a.scale[of + r] = largest[r] / 127.f;
      if (!a.shifted) a.sum[of + r] = (float)reduce_add(total[r]);
    }
  }
}

static void quantise_tile(const Call& c, const Quantised& a, int64_t tile) {
  const int64_t first = first_of(c, a, tile), rows = first_of(c, a, tile + 1) - first;
  int64_t row = 0;
  for (; row + 4 <= rows; row += 4) quantise_rows<4>(c, a, first, rows, row);
  for (; row + 2 <= rows; row += 2) quantise_rows<2>(c, a, first, rows, row);
  for (; row < rows; row++) quantise_rows<1>(c, a, first, rows, row);
}
