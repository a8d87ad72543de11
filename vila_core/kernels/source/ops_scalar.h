// The operations on 16 lanes, spelled out: what the other sets must equal, and what any processor can do.
struct I { int32_t v[16]; };  // or 64 bytes
struct F { float v[16]; };
struct Bytes { int8_t v[16]; };

template <class Function>
static inline I each(Function f) {
  I r;
  for (int i = 0; i < 16; i++) r.v[i] = f(i);
  return r;
}
template <class Function>
static inline F feach(Function f) {
  F r;
  for (int i = 0; i < 16; i++) r.v[i] = f(i);
  return r;
}
template <class Function>
static inline I each_byte(I a, Function f) {
  uint8_t bytes[64];
  memcpy(bytes, &a, 64);
  for (int i = 0; i < 64; i++) bytes[i] = (uint8_t)f(bytes[i], i);
  memcpy(&a, bytes, 64);
  return a;
}

static inline I izero() { return each([](int) { return 0; }); }
static inline I iset(int32_t v) { return each([=](int) { return v; }); }
static inline I bset(int v) { return each_byte(izero(), [=](uint8_t, int) { return v; }); }
static inline I iload(const uint8_t* p) {
  I r;
  memcpy(&r, p, 64);
  return r;
}
static inline void istore(uint8_t* p, I v) { memcpy(p, &v, 64); }
static inline I iadd(I a, I b) { return each([&](int i) { return a.v[i] + b.v[i]; }); }
static inline I isub(I a, I b) { return each([&](int i) { return a.v[i] - b.v[i]; }); }
static inline I bsub(I a, I b) {
  uint8_t bytes[64];
  memcpy(bytes, &b, 64);
  return each_byte(a, [&](uint8_t v, int i) { return v - bytes[i]; });
}
static inline I four_times(const uint8_t* p) {  // 16 bytes, each in all bytes of its lane
  return each_byte(izero(), [=](uint8_t, int i) { return p[i / 4]; });
}
static inline I low_nibbles(I v) { return each_byte(v, [](uint8_t b, int) { return b & 15; }); }
static inline I high_nibbles(I v) { return each_byte(v, [](uint8_t b, int) { return b >> 4; }); }
static inline I broadcast4(const int8_t* p) {  // 4 bytes in every lane
  int32_t four;
  memcpy(&four, p, 4);
  return iset(four);
}
static inline I dot4(I sum, I w, I x) {  // unsigned by signed bytes
  uint8_t a[64];
  int8_t b[64];
  memcpy(a, &w, 64);
  memcpy(b, &x, 64);
  return each([&](int i) {
    int32_t total = sum.v[i];
    for (int j = 4 * i; j < 4 * i + 4; j++) total += a[j] * b[j];
    return total;
  });
}
static inline int32_t reduce_add(I v) {
  int32_t total = 0;
  for (int32_t lane : v.v) total += lane;
  return total;
}
static inline F to_float(I v) { return feach([&](int i) { return (float)v.v[i]; }); }
static inline I round_to_int(F v) { return each([&](int i) { return (int32_t)std::nearbyint(v.v[i]); }); }  // ties to even
static inline Bytes low_bytes(I v) {
  Bytes r;
  for (int i = 0; i < 16; i++) r.v[i] = (int8_t)v.v[i];
  return r;
}
template <int R>
static inline void store_fours(int8_t* p, int64_t stride, const Bytes (&rows)[R]) {  // see fours_x86.h
  for (int i = 0; i < 4; i++)
    for (int r = 0; r < R; r++) memcpy(p + i * stride + 4 * r, rows[r].v + 4 * i, 4);
}

static inline float from_bits(uint32_t bits) {
  float f;
  memcpy(&f, &bits, 4);
  return f;
}
static inline uint32_t to_bits(float f) {
  uint32_t bits;
  memcpy(&bits, &f, 4);
  return bits;
}
static inline uint16_t narrow_one(float f) {  // to bfloat16, to nearest, ties to even
  const uint32_t bits = to_bits(f);
  return (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}
static inline float half_one(uint16_t h) {
  const uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = (h >> 10) & 31, mantissa = h & 1023;
  if (exponent == 0) return from_bits(sign | to_bits((float)mantissa * 5.9604645e-8f));
  return from_bits(sign | (exponent == 31 ? 255 : exponent + 112) << 23 | mantissa << 13);
}
static inline F fset(float v) { return feach([=](int) { return v; }); }
static inline F fload(const float* p) { return feach([=](int i) { return p[i]; }); }
static inline F fload(const uint16_t* p) { return feach([=](int i) { return from_bits((uint32_t)p[i] << 16); }); }  // bfloat16
static inline F fload_half(const uint16_t* p) { return feach([=](int i) { return half_one(p[i]); }); }
static inline F fload_bytes(const uint8_t* p) { return feach([=](int i) { return (float)p[i]; }); }
static inline void fstore(float* p, F v) { memcpy(p, v.v, 64); }
static inline void fstore(uint16_t* p, F v) {
  for (int i = 0; i < 16; i++) p[i] = narrow_one(v.v[i]);
}
static inline F as_bfloat16(F v) { return feach([&](int i) { return from_bits((uint32_t)narrow_one(v.v[i]) << 16); }); }
static inline F fadd(F a, F b) { return feach([&](int i) { return a.v[i] + b.v[i]; }); }
static inline F fsub(F a, F b) { return feach([&](int i) { return a.v[i] - b.v[i]; }); }
static inline F fmul(F a, F b) { return feach([&](int i) { return a.v[i] * b.v[i]; }); }
static inline F fadd_mul(F sum, F a, F b) { return feach([&](int i) { return sum.v[i] + a.v[i] * b.v[i]; }); }
static inline F fsub_mul(F sum, F a, F b) { return feach([&](int i) { return sum.v[i] - a.v[i] * b.v[i]; }); }
static inline F fmax(F a, F b) { return feach([&](int i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; }); }
static inline F fmin(F a, F b) { return feach([&](int i) { return a.v[i] < b.v[i] ? a.v[i] : b.v[i]; }); }
// Absolute values are compared by their bits: NaN is above infinity there, where a maximum of floats may lose it.
static inline float most_one(float a, float b) { return to_bits(a) > to_bits(b) ? a : b; }
static inline F fmax_abs(F most, F v) { return feach([&](int i) { return most_one(most.v[i], std::fabs(v.v[i])); }); }
static inline float reduce_most(F v) {  // of absolute values
  float most = 0.f;
  for (float lane : v.v) most = most_one(most, lane);
  return most;
}
static inline F fround(F v) { return feach([&](int i) { return std::nearbyint(v.v[i]); }); }
static inline F fpower(F p, F n) {  // p * 2^n, n whole, -126 to 127
  return feach([&](int i) { return p.v[i] * from_bits((uint32_t)((int32_t)n.v[i] + 127) << 23); });
}
static inline F fabove(F x, float limit, F v) { return feach([&](int i) { return x.v[i] > limit ? v.v[i] : 0.f; }); }  // or 0
static inline F finverse(F v) { return feach([&](int i) { return 1.f / v.v[i]; }); }
static inline float reduce_max(F v) {
  float most = v.v[0];
  for (float lane : v.v) most = lane > most ? lane : most;
  return most;
}
static inline float reduce_add(F v) {
  float total = 0.f;
  for (float lane : v.v) total += lane;
  return total;
}
static inline F ffirst(F v, int64_t lanes, F other) { return feach([&](int i) { return i < lanes ? v.v[i] : other.v[i]; }); }
static inline void transpose(F (&rows)[16]) {
  for (int i = 0; i < 16; i++)
    for (int j = 0; j < i; j++) {
      const float kept = rows[i].v[j];
      rows[i].v[j] = rows[j].v[i];
      rows[j].v[i] = kept;
    }
}
