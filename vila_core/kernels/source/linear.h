// Linear layers with 4- or 8-bit weights and 8-bit activations, for one instruction set.
//
// Included once for each set, inside a namespace that defines: I (16 lanes of int32), F (16 lanes of float), their
// operations, and kRows x kBlocks, the tile whose sums fit the registers.
//
// Weights lie in blocks of 16 outputs. For 4 inputs a block has 64 bytes, byte 4 * output + input, as the dot product
// instructions want them; 4-bit weights have two such runs in 64 bytes, the low nibbles first. All are unsigned: the
// value is (weight - zero) * scale, scale and zero one for each output and group of inputs. Activations are rounded to
// 8 bits for each token and group. Sums are exact integers within a group.

static inline F load_in(const Call& c, int64_t at) {
  return c.bfloat16 ? load_bf16((const uint16_t*)c.x + at) : fload((const float*)c.x + at);
}

static void quantise_row(const Call& c, int64_t token, const Quantised& a) {
  const int64_t groups = c.inputs / c.group;
  for (int64_t g = 0; g < groups; g++) {
    const int64_t at = token * c.inputs + g * c.group;
    F most = fset(0.f);
    for (int64_t i = 0; i < c.group; i += 16) most = fmax_abs(most, load_in(c, at + i));
    const float largest = reduce_max(most);
    const F inverse = fset(largest > 0.f ? 127.f / largest : 0.f);
    I total = izero();
    for (int64_t i = 0; i < c.group; i += 16) {
      const I rounded = round_to_int(fmul(load_in(c, at + i), inverse));
      total = iadd(total, rounded);
      store_int8(a.q + at + i, rounded);
    }
    a.scale[token * groups + g] = largest / 127.f;
    a.sum[token * groups + g] = largest / 127.f * (float)reduce_add(total);
  }
}

static inline void store_out(const Call& c, int64_t token, int64_t output, F v) {
  if (c.bfloat16) store_bf16((uint16_t*)c.y + token * c.outputs + output, v);
  else fstore((float*)c.y + token * c.outputs + output, v);
}

// Sums of one group for R tokens and B blocks; `run` are the blocks' bytes of this group.
template <int R, int B>
static inline void add_group(I (&sums)[R][B], const uint8_t* const (&run)[B], const int8_t* const (&q)[R], int64_t group) {
  for (int64_t k = 0; k < group / 4; k++) {
    I w[B];
    for (int b = 0; b < B; b++) w[b] = iload(run[b] + 64 * k);
    for (int r = 0; r < R; r++) {
      const I x = broadcast4(q[r] + 4 * k);
      for (int b = 0; b < B; b++) sums[r][b] = dot4(sums[r][b], w[b], x);
    }
  }
}

// The same for one block straight from its 4-bit form.
template <int R>
static inline void add_group_int4(I (&sums)[R][1], const uint8_t* const (&run)[1], const int8_t* const (&q)[R], int64_t group) {
  I odd[R];
  for (int r = 0; r < R; r++) odd[r] = izero();
  for (int64_t k = 0; k < group / 8; k++) {
    const I packed = iload(run[0] + 64 * k);
    const I low = low_nibbles(packed), high = high_nibbles(packed);
    for (int r = 0; r < R; r++) {
      sums[r][0] = dot4(sums[r][0], low, broadcast4(q[r] + 8 * k));
      odd[r] = dot4(odd[r], high, broadcast4(q[r] + 8 * k + 4));
    }
  }
  for (int r = 0; r < R; r++) sums[r][0] = iadd(sums[r][0], odd[r]);
}

// R tokens from `token` on, B blocks from `block` on. bytes: where the first block's weights lie, in 4-bit form if packed.
template <int R, int B, bool packed>
static void tile(const Call& c, const Quantised& a, int64_t token, int64_t block, const uint8_t* bytes) {
  const int64_t groups = c.inputs / c.group, stride = c.inputs * (packed ? 8 : 16);
  F out[R][B];
  for (int b = 0; b < B; b++) {
    const F start = c.bias ? fload(c.bias + (block + b) * 16) : fset(0.f);
    for (int r = 0; r < R; r++) out[r][b] = start;
  }
  for (int64_t g = 0; g < groups; g++) {
    I sums[R][B];
    const int8_t* q[R];
    const uint8_t* run[B];
    for (int r = 0; r < R; r++) q[r] = a.q + (token + r) * c.inputs + g * c.group;
    for (int b = 0; b < B; b++) run[b] = bytes + b * stride + g * (stride / groups);
    for (int r = 0; r < R; r++) for (int b = 0; b < B; b++) sums[r][b] = izero();
    if constexpr (packed) add_group_int4<R>(sums, run, q, c.group);
    else add_group<R, B>(sums, run, q, c.group);
    for (int b = 0; b < B; b++) {
      const int64_t at = ((block + b) * groups + g) * 16;
      const F scale = fload(c.scale + at), shift = fload(c.shift + at);
      for (int r = 0; r < R; r++) {
        const int64_t of = (token + r) * groups + g;
        out[r][b] = fsub_mul(out[r][b], shift, fset(a.sum[of]));
        out[r][b] = fadd_mul(out[r][b], to_float(sums[r][b]), fmul(scale, fset(a.scale[of])));
      }
    }
  }
  for (int r = 0; r < R; r++) for (int b = 0; b < B; b++) store_out(c, token + r, (block + b) * 16, out[r][b]);
}

template <int R, int B, bool packed>
static void tokens_from(const Call& c, const Quantised& a, int64_t token, int64_t block, const uint8_t* bytes) {
  // full tiles, then what is left in one smaller tile
  for (; token + R <= c.tokens; token += R) tile<R, B, packed>(c, a, token, block, bytes);
  if constexpr (R > 1) {
    if (token < c.tokens) tokens_from<R - 1, B, packed>(c, a, token, block, bytes);
  }
}

static void unpack_blocks(const uint8_t* packed, uint8_t* bytes, int64_t runs) {
  for (int64_t k = 0; k < runs; k++) {
    const I v = iload(packed + 64 * k);
    istore(bytes + 128 * k, low_nibbles(v));
    istore(bytes + 128 * k + 64, high_nibbles(v));
  }
}

void linear(const Call& c, const Quantised& a) {
  const int64_t blocks = c.outputs / 16, units = (blocks + kBlocks - 1) / kBlocks;
  const bool direct = c.bits == 4 && c.tokens <= 4 * kDirectRows;
#pragma omp parallel
  {
#pragma omp for schedule(static)
    for (int64_t t = 0; t < c.tokens; t++) quantise_row(c, t, a);
    if (direct) {
#pragma omp for schedule(static)
      for (int64_t b = 0; b < blocks; b++) tokens_from<kDirectRows, 1, true>(c, a, 0, b, c.weight + b * c.inputs * 8);
    } else {
      uint8_t* buffer = c.bits == 4 ? thread_scratch(16 * kBlocks * c.inputs) : nullptr;
#pragma omp for schedule(dynamic, 1)
      for (int64_t u = 0; u < units; u++) {
        const int64_t first = u * kBlocks, count = blocks - first < kBlocks ? blocks - first : kBlocks;
        const uint8_t* bytes = c.weight + first * c.inputs * 16;
        if (c.bits == 4) {
          unpack_blocks(c.weight + first * c.inputs * 8, buffer, count * c.inputs / 8);
          bytes = buffer;
        }
        if (count == kBlocks) tokens_from<kRows, kBlocks, false>(c, a, 0, first, bytes);
        else tokens_from<kRows, 1, false>(c, a, 0, first, bytes);
      }
    }
  }
}
