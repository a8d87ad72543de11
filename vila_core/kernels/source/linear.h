// Linear layers with 4- or 8-bit weights and 8-bit activations, for one instruction set.
//
// Included once for each set, inside a namespace that defines: I (16 lanes of int32), F (16 lanes of float), their
// operations, and kRows x kBlocks, the tile whose sums fit the registers.
//
// Weights lie in blocks of 16 outputs. For 4 inputs a block has 64 bytes, byte 4 * output + input, as the dot product
// instructions want them; 4-bit weights have two such runs in 64 bytes, the low nibbles first. All are unsigned: the
// value is (weight - zero) * scale, scale and zero one for each output and group of inputs. Sums are exact integers
// within a group.
//
// Few tokens are multiplied with the 4-bit weights as they lie: reading them is what takes the time. For many they are
// unpacked once, less their zeros, so that nothing is left to correct for each group.

static inline void store_out(const Call& c, int64_t token, int64_t output, F v) {
  if (c.bfloat16) store_bf16((uint16_t*)c.y + token * c.outputs + output, v);
  else fstore((float*)c.y + token * c.outputs + output, v);
}

#include "activations.h"
#include "tile.h"

constexpr int kShares = 4;  // of a thread

static bool direct(const Call& c) { return c.bits == 4 && c.tokens <= kDirectTokens; }

// A block's weights less their zeros, and behind them, for each group, -128 times their sums.
static void move_block(const Call& c, const uint8_t* packed, const uint8_t* zero, uint8_t* to) {
  uint8_t* start = to + 16 * c.inputs;
  for (int64_t g = 0; g < c.inputs / c.group; g++) {
    const I zeros = four_times(zero + 16 * g), offset = bset(128);
    I sum = izero();
    for (int64_t k = 0; k < c.group / 8; k++, packed += 64, to += 128) {
      const I v = iload(packed), low = bsub(low_nibbles(v), zeros), high = bsub(high_nibbles(v), zeros);
      sum = dot4_nibbles(dot4_nibbles(sum, offset, low), offset, high);
      istore(to, low);
      istore(to + 64, high);
    }
    istore(start + 64 * g, isub(izero(), sum));
  }
}

static int64_t moved_bytes(const Call& c) { return 16 * c.inputs + 64 * (c.inputs / c.group); }

// Blocks from `block` on, as many as a tile has or as are left.
static void unit(const Call& c, const Quantised& a, int64_t block, uint8_t* buffer) {
  const int64_t left = c.outputs / 16 - block, count = left < kBlocks ? left : kBlocks;
  const int64_t tables = c.inputs / c.group * 16;
  Block blocks[kBlocks];
  for (int64_t b = 0; b < count; b++) {
    const uint8_t* weight = c.weight + (block + b) * c.inputs * (c.bits == 4 ? 8 : 16);
    blocks[b] = {weight, c.bias ? c.bias + (block + b) * 16 : nullptr, (block + b) * tables, nullptr};
    if (a.shifted) {
      uint8_t* moved = buffer + b * moved_bytes(c);
      move_block(c, weight, c.zero + blocks[b].tables, moved);
      blocks[b].weight = moved;
      blocks[b].start = moved + 16 * c.inputs;
    }
  }
  if (c.bits == 8) all_tiles<kRows, kBytes>(c, a, block * 16, blocks, count);
  else if (a.shifted) all_tiles<kRows, kMoved>(c, a, block * 16, blocks, count);
  else all_tiles<kDirectRows, kNibbles>(c, a, block * 16, blocks, count);
}

// Layers with the same x, inputs, group and bits.
void linear(const Call* calls, int count, Quantised a) {
  const Call& c = calls[0];
  a.shifted = c.bits == 4 && !direct(c);
  a.rows = direct(c) ? kDirectRows : kRows;
  int64_t units = 0, share = 1;
  for (int i = 0; i < count; i++) units += (calls[i].outputs / 16 + kBlocks - 1) / kBlocks;
  // Side by side they are fetched better, but a thread that is late must not be waited for long.
  if (direct(c)) share = (units + kShares * omp_get_max_threads() - 1) / (kShares * omp_get_max_threads());
#pragma omp parallel
  {
#pragma omp for schedule(static)
    for (int64_t t = 0; t < tiles(c, a); t++) quantise_tile(c, a, t);
    uint8_t* buffer = a.shifted ? thread_scratch(kBlocks * moved_bytes(c)) : nullptr;
#pragma omp for schedule(dynamic, share)
    for (int64_t u = 0; u < units; u++) {
      int64_t block = u * kBlocks;
      const Call* of = calls;
      for (; block >= (of->outputs / 16 + kBlocks - 1) / kBlocks * kBlocks; of++)
        block -= (of->outputs / 16 + kBlocks - 1) / kBlocks * kBlocks;
      unit(*of, a, block, buffer);
    }
  }
}
