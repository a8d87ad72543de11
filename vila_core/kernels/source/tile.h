// The product of a tile: some tokens by some blocks of 16 outputs, for one instruction set; see linear.h.

enum Form {
  kBytes,    // 8-bit weights, unsigned; signed activations
  kNibbles,  // 4-bit weights, two to a byte; signed activations
  kMoved,    // 4-bit weights less their zeros, a signed byte each; unsigned activations, 128 too large
};

constexpr int kStreamRows = 4;

struct Block {                // of 16 outputs
  const uint8_t* weight;
  const float* bias;          // or null
  int64_t tables;             // where its scales and zeros begin
  const uint8_t* start;       // kMoved: what the sums begin with, [groups] vectors
};

// Sums of one group for R tokens and B blocks; `run` are the blocks' bytes of this group.
template <int R, int B, Form form>
static inline void add_group(I (&sums)[R][B], const uint8_t* const (&run)[B], const int8_t* q, int64_t group) {
  constexpr int kParts = form == kNibbles ? 2 : 1;
  for (int64_t k = 0; k < group / (4 * kParts); k++) {
    I w[kParts][B];
#pragma GCC unroll 8
    for (int b = 0; b < B; b++) {
      w[0][b] = iload(run[b] + 64 * k);
      if constexpr (form == kNibbles) {
        w[1][b] = high_nibbles(w[0][b]);
        w[0][b] = low_nibbles(w[0][b]);
      }
    }
#pragma GCC unroll 2
    for (int part = 0; part < kParts; part++, q += 4 * R)
#pragma GCC unroll 16
      for (int r = 0; r < R; r++) {
        const I x = broadcast4(q + 4 * r);
#pragma GCC unroll 8
        for (int b = 0; b < B; b++) {
          if constexpr (form == kBytes) sums[r][b] = dot4(sums[r][b], w[part][b], x);
          else if constexpr (form == kNibbles) sums[r][b] = dot4_nibbles(sums[r][b], w[part][b], x);
          else sums[r][b] = dot4_nibbles(sums[r][b], x, w[part][b]);
        }
      }
  }
}

// R tokens from `first` on.
template <int R, int B, Form form>
static void tile(const Call& c, const Quantised& a, int64_t first, int64_t output, const Block* blocks) {
  const int64_t groups = c.inputs / c.group, bytes = c.group * (form == kNibbles ? 8 : 16);
  float out[R][B][16];  // in memory: the registers are for the sums
  for (int b = 0; b < B; b++) {
    const F start = blocks[b].bias ? fload(blocks[b].bias) : fset(0.f);
    for (int r = 0; r < R; r++) fstore(out[r][b], start);
  }
  for (int64_t g = 0; g < groups; g++) {
    const int64_t of = first * groups + g * R;
    I sums[R][B];
    const uint8_t* run[B];
#pragma GCC unroll 8
    for (int b = 0; b < B; b++) {
      run[b] = blocks[b].weight + g * bytes;
      const I start = form == kMoved ? iload(blocks[b].start + 64 * g) : izero();
#pragma GCC unroll 16
      for (int r = 0; r < R; r++) sums[r][b] = start;
    }
    add_group<R, B, form>(sums, run, a.q + first * c.inputs + g * c.group * R, c.group);
#pragma GCC unroll 8
    for (int b = 0; b < B; b++) {
      const int64_t at = blocks[b].tables + 16 * g;
      const F scale = c.half_scale ? fload_half((const uint16_t*)c.scale + at) : fload((const float*)c.scale + at);
      const F zero = fload_bytes(c.zero + at);
#pragma GCC unroll 16
      for (int r = 0; r < R; r++) {
        F sum = to_float(sums[r][b]);
        if constexpr (form != kMoved) sum = fsub_mul(sum, zero, fset(a.sum[of + r]));
        fstore(out[r][b], fadd_mul(fload(out[r][b]), sum, fmul(scale, fset(a.scale[of + r]))));
      }
    }
  }
  for (int r = 0; r < R; r++)
    for (int b = 0; b < B; b++) store_out(c, first + r, output + 16 * b, fload(out[r][b]));
}

template <int R, int B, Form form>
static void tile_of(const Call& c, const Quantised& a, int64_t rows, int64_t first, int64_t output, const Block* blocks) {
  if constexpr (R > 0) {
    if (rows == R) tile<R, B, form>(c, a, first, output, blocks);
    else tile_of<R - 1, B, form>(c, a, rows, first, output, blocks);
  }
}

// All tokens by `count` blocks. Few rows wait for the weights, which come quicker in one stream than in several.
template <int R, Form form>
static void all_tiles(const Call& c, const Quantised& a, int64_t output, const Block* blocks, int64_t count) {
  for (int64_t t = 0; t < tiles(c, a); t++) {
    const int64_t first = first_of(c, a, t), rows = first_of(c, a, t + 1) - first;
    if (count == kBlocks && (form != kNibbles || rows > kStreamRows)) tile_of<R, kBlocks, form>(c, a, rows, first, output, blocks);
    else for (int64_t b = 0; b < count; b++) tile_of<R, 1, form>(c, a, rows, first, output + 16 * b, blocks + b);
  }
}
