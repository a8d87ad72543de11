// 16 lanes as two halves of 8: what AVX2 and AVX-VNNI have in common. dot4 and the tile are the including file's.
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
static inline F fmax_abs(F most, F v) {
  const __m256 sign = _mm256_set1_ps(-0.f);
  return {_mm256_max_ps(most.a, _mm256_andnot_ps(sign, v.a)), _mm256_max_ps(most.b, _mm256_andnot_ps(sign, v.b))};
}
static inline float reduce_max(F v) {
  float lanes[16], most = 0.f;
  fstore(lanes, v);
  for (float lane : lanes) most = lane > most ? lane : most;
  return most;
}
static inline int32_t reduce_add(I v) {
  int32_t lanes[8], total = 0;
  _mm256_storeu_si256((__m256i*)lanes, _mm256_add_epi32(v.a, v.b));
  for (int32_t lane : lanes) total += lane;
  return total;
}
static inline F to_float(I v) { return {_mm256_cvtepi32_ps(v.a), _mm256_cvtepi32_ps(v.b)}; }
static inline I round_to_int(F v) { return {_mm256_cvtps_epi32(v.a), _mm256_cvtps_epi32(v.b)}; }
static inline __m128i low_bytes(I v) {
  const __m256i byte = _mm256_set1_epi32(255);
  const __m256i words = _mm256_packs_epi32(_mm256_and_si256(v.a, byte), _mm256_and_si256(v.b, byte));  // halves crossed
  const __m256i sorted = _mm256_permute4x64_epi64(words, 0xd8);
  return _mm_packus_epi16(_mm256_castsi256_si128(sorted), _mm256_extracti128_si256(sorted, 1));
}
static inline F load_bf16(const uint16_t* p) {
  const __m256i low = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)p));
  const __m256i high = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)(p + 8)));
  return {_mm256_castsi256_ps(_mm256_slli_epi32(low, 16)), _mm256_castsi256_ps(_mm256_slli_epi32(high, 16))};
}
static inline void store_bf16(uint16_t* p, F v) {  // to nearest, ties to even
  uint32_t lanes[16];
  fstore((float*)lanes, v);
  for (int i = 0; i < 16; i++) p[i] = (uint16_t)((lanes[i] + 0x7fff + ((lanes[i] >> 16) & 1)) >> 16);
}
