// 16 lanes as four registers of NEON.
struct I { int32x4_t v[4]; };  // or 64 bytes
struct F { float32x4_t v[4]; };
using Bytes = int8x16_t;

template <class Function>
static inline I each(Function f) { return {{f(0), f(1), f(2), f(3)}}; }
template <class Function>
static inline F feach(Function f) { return {{f(0), f(1), f(2), f(3)}}; }
static inline int32x4_t from_bytes(uint8x16_t v) { return vreinterpretq_s32_u8(v); }
static inline uint8x16_t to_bytes(int32x4_t v) { return vreinterpretq_u8_s32(v); }

static inline I iset(int32_t v) { return each([=](int) { return vdupq_n_s32(v); }); }
static inline I izero() { return iset(0); }
static inline I bset(int v) { return each([=](int) { return from_bytes(vdupq_n_u8((uint8_t)v)); }); }
static inline I iload(const uint8_t* p) { return each([=](int i) { return from_bytes(vld1q_u8(p + 16 * i)); }); }
static inline void istore(uint8_t* p, I v) {
  for (int i = 0; i < 4; i++) vst1q_u8(p + 16 * i, to_bytes(v.v[i]));
}
static inline I iadd(I a, I b) { return each([&](int i) { return vaddq_s32(a.v[i], b.v[i]); }); }
static inline I isub(I a, I b) { return each([&](int i) { return vsubq_s32(a.v[i], b.v[i]); }); }
static inline I bsub(I a, I b) { return each([&](int i) { return from_bytes(vsubq_u8(to_bytes(a.v[i]), to_bytes(b.v[i]))); }); }
static inline uint32x4_t widen_four(const uint8_t* p) {
  uint32_t four;
  memcpy(&four, p, 4);
  return vmovl_u16(vget_low_u16(vmovl_u8(vcreate_u8(four))));
}
static inline I four_times(const uint8_t* p) {  // 16 bytes, each in all bytes of its lane
  return each([=](int i) { return vreinterpretq_s32_u32(vmulq_n_u32(widen_four(p + 4 * i), 0x01010101)); });
}
static inline I low_nibbles(I v) { return each([&](int i) { return from_bytes(vandq_u8(to_bytes(v.v[i]), vdupq_n_u8(15))); }); }
static inline I high_nibbles(I v) { return each([&](int i) { return from_bytes(vshrq_n_u8(to_bytes(v.v[i]), 4)); }); }
static inline I broadcast4(const int8_t* p) {  // 4 bytes in every lane
  int32_t four;
  memcpy(&four, p, 4);
  return iset(four);
}
// Signed by signed bytes is what every dot product has: 8-bit weights lose 128 first, kByteZero; nibbles need not.
static inline I dot4_nibbles(I sum, I w, I x) {
  return each([&](int i) { return vdotq_s32(sum.v[i], vreinterpretq_s8_s32(w.v[i]), vreinterpretq_s8_s32(x.v[i])); });
}
static inline I dot4(I sum, I w, I x) {
  const auto off = [&](int i) { return from_bytes(veorq_u8(to_bytes(w.v[i]), vdupq_n_u8(128))); };
  return dot4_nibbles(sum, each(off), x);
}
static inline int32_t reduce_add(I v) { return vaddvq_s32(vaddq_s32(vaddq_s32(v.v[0], v.v[1]), vaddq_s32(v.v[2], v.v[3]))); }
static inline F to_float(I v) { return feach([&](int i) { return vcvtq_f32_s32(v.v[i]); }); }
static inline I round_to_int(F v) { return each([&](int i) { return vcvtnq_s32_f32(v.v[i]); }); }
static inline int16x8_t words_of(int32x4_t a, int32x4_t b) { return vcombine_s16(vmovn_s32(a), vmovn_s32(b)); }
static inline Bytes low_bytes(I v) {
  return vcombine_s8(vmovn_s16(words_of(v.v[0], v.v[1])), vmovn_s16(words_of(v.v[2], v.v[3])));
}
template <int R>
static inline void store_fours(int8_t* p, int64_t stride, const Bytes (&rows)[R]) {  // see fours_x86.h
  for (int r = 0; r < R; r++) {
    const int32x4_t fours = vreinterpretq_s32_s8(rows[r]);
    const int32_t each[4] = {vgetq_lane_s32(fours, 0), vgetq_lane_s32(fours, 1), vgetq_lane_s32(fours, 2), vgetq_lane_s32(fours, 3)};
    for (int i = 0; i < 4; i++) memcpy(p + i * stride + 4 * r, each + i, 4);
  }
}

static inline F fset(float v) { return feach([=](int) { return vdupq_n_f32(v); }); }
static inline F fload(const float* p) { return feach([=](int i) { return vld1q_f32(p + 4 * i); }); }
static inline F fload(const uint16_t* p) {  // bfloat16
  return feach([=](int i) { return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p + 4 * i), 16)); });
}
static inline F fload_half(const uint16_t* p) {
  return feach([=](int i) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p + 4 * i))); });
}
static inline F fload_bytes(const uint8_t* p) { return feach([=](int i) { return vcvtq_f32_u32(widen_four(p + 4 * i)); }); }
static inline void fstore(float* p, F v) {
  for (int i = 0; i < 4; i++) vst1q_f32(p + 4 * i, v.v[i]);
}
static inline uint32x4_t rounded_bits(float32x4_t v) {  // to bfloat16, to nearest, ties to even
  const uint32x4_t bits = vreinterpretq_u32_f32(v), odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
  return vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
}
static inline void fstore(uint16_t* p, F v) {
  for (int i = 0; i < 4; i++) vst1_u16(p + 4 * i, vshrn_n_u32(rounded_bits(v.v[i]), 16));
}
static inline F as_bfloat16(F v) {
  return feach([&](int i) { return vreinterpretq_f32_u32(vandq_u32(rounded_bits(v.v[i]), vdupq_n_u32(0xffff0000))); });
}
static inline F fadd(F a, F b) { return feach([&](int i) { return vaddq_f32(a.v[i], b.v[i]); }); }
static inline F fsub(F a, F b) { return feach([&](int i) { return vsubq_f32(a.v[i], b.v[i]); }); }
static inline F fmul(F a, F b) { return feach([&](int i) { return vmulq_f32(a.v[i], b.v[i]); }); }
static inline F fadd_mul(F sum, F a, F b) { return feach([&](int i) { return vfmaq_f32(sum.v[i], a.v[i], b.v[i]); }); }
static inline F fsub_mul(F sum, F a, F b) { return feach([&](int i) { return vfmsq_f32(sum.v[i], a.v[i], b.v[i]); }); }
static inline F fmax(F a, F b) { return feach([&](int i) { return vmaxq_f32(a.v[i], b.v[i]); }); }
static inline F fmin(F a, F b) { return feach([&](int i) { return vminq_f32(a.v[i], b.v[i]); }); }
static inline F fmax_abs(F most, F v) {  // of NaN and a number NaN, and so below
  return feach([&](int i) { return vmaxq_f32(most.v[i], vabsq_f32(v.v[i])); });
}
static inline F fround(F v) { return feach([&](int i) { return vrndnq_f32(v.v[i]); }); }
static inline F fpower(F p, F n) {  // p * 2^n, n whole, -126 to 127
  return feach([&](int i) {
    return vmulq_f32(p.v[i], vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(vcvtq_s32_f32(n.v[i]), vdupq_n_s32(127)), 23)));
  });
}
static inline F fabove(F x, float limit, F v) {
  return feach([&](int i) {
    return vreinterpretq_f32_u32(vandq_u32(vcgtq_f32(x.v[i], vdupq_n_f32(limit)), vreinterpretq_u32_f32(v.v[i])));
  });
}
static inline F finverse(F v) { return feach([&](int i) { return vdivq_f32(vdupq_n_f32(1.f), v.v[i]); }); }
static inline float reduce_max(F v) { return vmaxvq_f32(vmaxq_f32(vmaxq_f32(v.v[0], v.v[1]), vmaxq_f32(v.v[2], v.v[3]))); }
static inline float reduce_most(F v) { return reduce_max(v); }  // of absolute values
static inline float reduce_add(F v) { return vaddvq_f32(vaddq_f32(vaddq_f32(v.v[0], v.v[1]), vaddq_f32(v.v[2], v.v[3]))); }
static inline F ffirst(F v, int64_t lanes, F other) {
  const int32x4_t last = vdupq_n_s32(lanes > 16 ? 16 : (int32_t)lanes), four = {0, 1, 2, 3};
  return feach([&](int i) { return vbslq_f32(vcgtq_s32(last, vaddq_s32(four, vdupq_n_s32(4 * i))), v.v[i], other.v[i]); });
}

static inline void transpose_four(float32x4_t (&r)[4]) {
  const float32x4x2_t a = vtrnq_f32(r[0], r[1]), b = vtrnq_f32(r[2], r[3]);
  r[0] = vcombine_f32(vget_low_f32(a.val[0]), vget_low_f32(b.val[0]));
  r[1] = vcombine_f32(vget_low_f32(a.val[1]), vget_low_f32(b.val[1]));
  r[2] = vcombine_f32(vget_high_f32(a.val[0]), vget_high_f32(b.val[0]));
  r[3] = vcombine_f32(vget_high_f32(a.val[1]), vget_high_f32(b.val[1]));
}
static inline void transpose(F (&rows)[16]) {
  F turned[16];
  for (int i = 0; i < 4; i++)
    for (int j = 0; j < 4; j++) {
      float32x4_t block[4] = {rows[4 * i].v[j], rows[4 * i + 1].v[j], rows[4 * i + 2].v[j], rows[4 * i + 3].v[j]};
      transpose_four(block);
      for (int k = 0; k < 4; k++) turned[4 * j + k].v[i] = block[k];
    }
  for (int i = 0; i < 16; i++) rows[i] = turned[i];
}
