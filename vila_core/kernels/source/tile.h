// The product of a tile: some tokens by some blocks of 16 outputs; see linear.h.

enum Form {
  kBytes,     // 8-bit weights, unsigned; signed activations
  kNibbles,   // 4-bit weights, two to a byte; signed activations
  kUnpacked,  // 4-bit weights, one to a byte; signed activations
  kMoved,     // 4-bit weights less their zeros, a signed byte each; unsigned activations, 128 too large
};

constexpr int kStreamRows = 4;

struct Block {                // of 16 outputs
  const uint8_t* weight;
  const float* bias;          // or null
  int64_t tables;             // where its scales and zeros begin
  const uint8_t* start;       // kMoved: what the sums begin with, [groups] vectors
};

constexpr int64_t bytes_of(Form form, int64_t inputs) { return inputs * (form == kNibbles ? 8 : 16); }  // of a block

// Adds the products of the next inputs, as many as 64 bytes of a block hold, for R tokens and B blocks.
template <int R, int B, Form form, class Sums>
static inline void add_next(Sums (&sums)[R][B], const uint8_t* const (&run)[B], const int8_t*& q) {
  constexpr int kParts = form == kNibbles ? 2 : 1;
#pragma GCC unroll 2
  for (int part = 0; part < kParts; part++, q += 4 * R) {
    I w[B];
#pragma GCC unroll 8
    for (int b = 0; b < B; b++) {
      w[b] = iload(run[b]);
      if constexpr (form == kNibbles) w[b] = part ? high_nibbles(w[b]) : low_nibbles(w[b]);
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; r++) {
      const auto x = broadcast4(q + 4 * r);
#pragma GCC unroll 8
      for (int b = 0; b < B; b++) {
        if constexpr (form == kBytes) sums[r][b] = dot4(sums[r][b], w[b], x);
        else if constexpr (form == kMoved) sums[r][b] = dot4_nibbles(sums[r][b], x, w[b]);
        else sums[r][b] = dot4_nibbles(sums[r][b], w[b], x);
      }
    }
  }
}

// Sums of one group; `run` are the blocks' bytes of this group. Where a set adds products of nibbles in 16 bits first
// (Short), eight of them fit: 8 x 2 x 15 x 127 = 30480.
template <int R, int B, Form form>
static inline void add_group(I (&sums)[R][B], const uint8_t* const (&begin)[B], const int8_t* q, int64_t group) {
  const int64_t count = bytes_of(form, group) / 64;
  const uint8_t* run[B];
  for (int b = 0; b < B; b++) run[b] = begin[b];
  if constexpr (kShortSums && (form == kNibbles || form == kUnpacked)) {
    constexpr int64_t kMost = form == kNibbles ? 4 : 8;
    for (int64_t k = 0; k < count; k += kMost) {
      Short few[R][B];
#pragma GCC unroll 16
      for (auto& row : few) for (auto& sum : row) sum = short_zero();
      const int64_t end = k + kMost < count ? k + kMost : count;
#pragma GCC unroll 1
      for (int64_t i = k; i < end; i++) {
        add_next<R, B, form>(few, run, q);
        for (auto& at : run) at += 64;
      }
#pragma GCC unroll 16
      for (int r = 0; r < R; r++) for (int b = 0; b < B; b++) sums[r][b] = add_short(sums[r][b], few[r][b]);
    }
  } else {
#pragma GCC unroll (kHalves ? 1 : 2)
    for (int64_t k = 0; k < count; k++) {
      add_next<R, B, form>(sums, run, q);
      for (auto& at : run) at += 64;
    }
  }
}

constexpr bool halves(Form form) { return kHalves && form == kBytes; }

// Halved inputs of a tile that are still to come; empty for the other forms.
template <int R, bool any>
struct Rests {
  Rests(const Call&, const Rounded&, int64_t) {}
  template <int B>
  void add(I (&)[R][B], const uint8_t* const (&)[B], int64_t, int64_t) {}
};
template <int R>
struct Rests<R, true> {
  const Rest *next[R], *last[R];
  Rests(const Call& c, const Rounded& a, int64_t first) {
    for (int r = 0; r < R; r++) {
      next[r] = a.rest + (first + r) * (c.inputs / 4);
      last[r] = next[r] + a.rests[first + r];
    }
  }
  // Those of a group, its fours numbered from begin to end, whose blocks' bytes are at `run`.
  template <int B>
  void add(I (&sums)[R][B], const uint8_t* const (&run)[B], int64_t begin, int64_t end) {
#pragma GCC unroll 16
    for (int r = 0; r < R; r++)
      for (; next[r] < last[r] && next[r]->four < end; next[r]++)
        for (int b = 0; b < B; b++)
          sums[r][b] = dot4(sums[r][b], iload(run[b] + 64 * (next[r]->four - begin)), broadcast4(next[r]->values));
  }
};

// R tokens from `first` on. Alone in its function: with more around it GCC keeps the sums in memory.
template <class T, int R, int B, Form form>
[[gnu::noinline]] static void tile(const Call& c, const Rounded& a, int64_t first, int64_t output, const Block* blocks) {
  const int64_t groups = c.inputs / c.group, bytes = bytes_of(form, c.group);
  Rests<R, halves(form)> rests(c, a, first);
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
    rests.add(sums, run, g * c.group / 4, (g + 1) * c.group / 4);
#pragma GCC unroll 8
    for (int b = 0; b < B; b++) {
      const int64_t at = blocks[b].tables + 16 * g;
      const F scale = c.half_scale ? fload_half((const uint16_t*)c.scale + at) : fload((const float*)c.scale + at);
      F zero = fload_bytes(c.zero + at);
      if constexpr (form == kBytes && kByteZero != 0) zero = fsub(zero, fset((float)kByteZero));
#pragma GCC unroll 16
      for (int r = 0; r < R; r++) {
        F sum = to_float(sums[r][b]);
        if constexpr (form != kMoved) sum = fsub_mul(sum, zero, fset(a.sum[of + r]));
        fstore(out[r][b], fadd_mul(fload(out[r][b]), sum, fmul(scale, fset(a.scale[of + r]))));
      }
    }
  }
  for (int r = 0; r < R; r++)
    for (int b = 0; b < B; b++) fstore((T*)c.y + (first + r) * c.outputs + output + 16 * b, fload(out[r][b]));
}

template <class T, int R, int B, Form form>
static void tile_of(const Call& c, const Rounded& a, int64_t rows, int64_t first, int64_t output, const Block* blocks) {
  if constexpr (R > 0) {
    if (rows == R) tile<T, R, B, form>(c, a, first, output, blocks);
    else tile_of<T, R - 1, B, form>(c, a, rows, first, output, blocks);
  }
}

// All tokens by `count` blocks. Few rows wait for the weights, which come quicker in one stream than in several.
template <class T, int R, Form form>
static void all_tiles(const Call& c, const Rounded& a, int64_t output, const Block* blocks, int64_t count) {
  for (int64_t t = 0; t < tiles(c, a); t++) {
    const int64_t first = first_of(c, a, t), rows = first_of(c, a, t + 1) - first;
    int64_t b = 0;
    if (form != kNibbles || rows > kStreamRows)
      for (; b + kBlocks <= count; b += kBlocks) tile_of<T, R, kBlocks, form>(c, a, rows, first, output + 16 * b, blocks + b);
    for (; b < count; b++) tile_of<T, R, 1, form>(c, a, rows, first, output + 16 * b, blocks + b);
  }
}
