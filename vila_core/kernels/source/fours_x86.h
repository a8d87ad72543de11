// Rounded activations of R rows that lie side by side, four bytes by four: at p, at p + stride, ...
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
using Bytes = __m128i;
