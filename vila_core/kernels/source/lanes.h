// What is made of a set's operations: parts of 16 lanes, powers of two.
template <class T>
static inline F fload_first(const T* p, int64_t count) {  // the rest are zeros
  if (count >= 16) return fload(p);
  T lanes[16] = {};
  if (count == 8) memcpy(lanes, p, 8 * sizeof(T));
  else if (count > 0) memcpy(lanes, p, count * sizeof(T));
  return fload(lanes);
}
template <class T>
static inline void fstore_first(T* p, F v, int64_t count) {
  if (count >= 16) return fstore(p, v);
  T lanes[16];
  fstore(lanes, v);
  if (count == 8) memcpy(p, lanes, 8 * sizeof(T));
  else if (count > 0) memcpy(p, lanes, count * sizeof(T));
}
static inline float widen_one(float v) { return v; }
static inline float widen_one(uint16_t v) {
  const uint32_t bits = (uint32_t)v << 16;
  float f;
  memcpy(&f, &bits, 4);
  return f;
}

template <class T>
static inline F as_type(F v) {  // rounded as writing and reading it would
  if constexpr (sizeof(T) == 4) return v;
  else return as_bfloat16(v);
}

constexpr float kLog2e = 1.44269504f;

// 2^x for x <= 126, relative error below 2e-7; 0 below 2^-126.
static inline F power(F x) {
  const F n = fround(fmax(x, fset(-126.f)));
  const F rest = fsub(fmax(x, fset(-126.f)), n);
  F p = fset(1.54035304e-4f);
  p = fadd_mul(fset(1.33335581e-3f), p, rest);
  p = fadd_mul(fset(9.61812911e-3f), p, rest);
  p = fadd_mul(fset(5.55041087e-2f), p, rest);
  p = fadd_mul(fset(2.40226507e-1f), p, rest);
  p = fadd_mul(fset(6.93147181e-1f), p, rest);
  p = fadd_mul(fset(1.f), p, rest);
  return fabove(x, -126.f, fpower(p, n));
}

// Sum of the products of 32 values.
template <class T>
static inline F dot32(F sum, const T* a, const T* b) {
  return fadd_mul(fadd_mul(sum, fload(a), fload(b)), fload(a + 16), fload(b + 16));
}
