// Linear layers with 4- or 8-bit weights and 8-bit activations.
//
// Weights lie in blocks of 16 outputs. For 4 inputs a block has 64 bytes, byte 4 * output + input, as the dot product
// instructions want them; 4-bit weights have two such runs in 64 bytes, the low nibbles first. All are unsigned: the
// value is (weight - zero) * scale, scale and zero one for each output and group of inputs. Sums are exact integers
// within a group.
//
// Few tokens are multiplied with the weights as they lie: reading them is what takes the time. For many, 4-bit weights
// are unpacked once; where a set can, less their zeros, so that nothing is left to correct for each group.

#include "activations.h"
#include "tile.h"

constexpr int kShares = 4;      // of a thread
constexpr int kMostBlocks = 4;  // of 16 outputs, that a tile of tokens is multiplied with while it is in the cache

static Form form_of(const Call& c) {
  if (c.tokens <= kDirectTokens) return c.bits == 4 ? kNibbles : kBytes;
  if (c.bits == 8) return kBytes;
  return kMoves ? kMoved : kUnpacked;
}

// A block's weights less their zeros, and behind them, for each group, -128 times their sums.
static void move_block(const Call& c, const uint8_t* packed, const uint8_t* zero, uint8_t* to) {
  uint8_t* start = to + 16 * c.inputs;
  for (int64_t g = 0; g < c.inputs / c.group; g++) {
    const I zeros = four_times(zero + 16 * g), offset = bset(128);
    I sum = izero();
    for (int64_t k = 0; k < c.group / 8; k++, packed += 64, to += 128) {
      const I v = iload(packed), low = bsub(low_nibbles(v), zeros), high = bsub(high_nibbles(v), zeros);
      sum = dot4(dot4(sum, offset, low), offset, high);
      istore(to, low);
      istore(to + 64, high);
    }
    istore(start + 64 * g, isub(izero(), sum));
  }
}

static void unpack_block(const Call& c, const uint8_t* packed, uint8_t* to) {
  for (int64_t k = 0; k < c.inputs / 8; k++, packed += 64, to += 128) {
    const I v = iload(packed);
    istore(to, low_nibbles(v));
    istore(to + 64, high_nibbles(v));
  }
}

static int64_t unpacked_bytes(const Call& c, Form form) {
  return form == kNibbles || form == kBytes ? 0 : up(bytes_of(form, c.inputs) + (form == kMoved ? 64 * (c.inputs / c.group) : 0), 64);
}

// Blocks from `block` on, `most` of them or as many as are left.
template <class T>
static void unit(const Call& c, const Rounded& a, Form form, int64_t block, int64_t most, uint8_t* buffer) {
  const int64_t left = c.outputs / 16 - block, count = left < most ? left : most;
  const int64_t tables = c.inputs / c.group * 16;
  Block blocks[kMostBlocks];
  for (int64_t b = 0; b < count; b++) {
    const uint8_t* weight = c.weight + (block + b) * c.inputs * (c.bits == 4 ? 8 : 16);
    blocks[b] = {weight, c.bias ? c.bias + (block + b) * 16 : nullptr, (block + b) * tables, nullptr};
    if (unpacked_bytes(c, form) == 0) continue;
    uint8_t* to = buffer + b * unpacked_bytes(c, form);
    if (form == kMoved) move_block(c, weight, c.zero + blocks[b].tables, to);
    else unpack_block(c, weight, to);
    blocks[b].weight = to;
    blocks[b].start = to + 16 * c.inputs;
  }
  if (form == kNibbles) all_tiles<T, kDirectRows, kNibbles>(c, a, block * 16, blocks, count);
  else if (form == kBytes) all_tiles<T, kRows, kBytes>(c, a, block * 16, blocks, count);
  else if constexpr (kMoves) all_tiles<T, kRows, kMoved>(c, a, block * 16, blocks, count);
  else all_tiles<T, kRows, kUnpacked>(c, a, block * 16, blocks, count);
}

static Rounded rounded_room(const Call& c, Form form) {
  const bool halved = halves(form);
  const int64_t values = up(c.tokens * c.inputs, 64), tables = up(c.tokens * (c.inputs / c.group) * 4, 64);
  const int64_t rests = halved ? c.tokens * (c.inputs / 4) * (int64_t)sizeof(Rest) : 0;
  uint8_t* bytes = scratch(kActivations, values + 2 * tables + rests + (halved ? 4 * c.tokens : 0));
  uint8_t* rest = bytes + values + 2 * tables;
  return {(int8_t*)bytes, (float*)(bytes + values), (float*)(bytes + values + tables), form == kNibbles ? kDirectRows : kRows,
          form == kMoved ? 128 : 0, form != kMoved, halved ? (Rest*)rest : nullptr, (int32_t*)(rest + rests)};
}

template <class T>
static void linear_of(const Call* calls, int count) {
  const Call& c = calls[0];
  if (c.bits == 32) return float_linear<T>(calls, count);
  const Form form = form_of(c);
  const Rounded a = rounded_room(c, form);
  const int64_t size = form == kNibbles ? kBlocks : kMostBlocks;  // of a unit, in blocks
  int64_t units = 0, share = 1;
  for (int i = 0; i < count; i++) units += (calls[i].outputs / 16 + size - 1) / size;
  // Side by side they are fetched better, but a thread that is late must not be waited for long.
  if (form == kNibbles) share = (units + kShares * omp_get_max_threads() - 1) / (kShares * omp_get_max_threads());
  const bool alone = tiles(c, a) == 1;  // then threads need not wait for each other in between
  if (alone) round_tile<T>(c, a, 0);
#pragma omp parallel
  {
    if (!alone) {
#pragma omp for schedule(static)
      for (int64_t t = 0; t < tiles(c, a); t++) round_tile<T>(c, a, t);
    }
    uint8_t* buffer = scratch(kWork, size * unpacked_bytes(c, form));
#pragma omp for schedule(dynamic, share) nowait
    for (int64_t u = 0; u < units; u++) {
      int64_t block = u * size;
      const Call* of = calls;
      for (; block >= (of->outputs / 16 + size - 1) / size * size; of++) block -= (of->outputs / 16 + size - 1) / size * size;
      unit<T>(*of, a, form, block, size, buffer);
    }
  }
}

static void linear(const Call* calls, int count) {
  if (calls->bfloat16) linear_of<uint16_t>(calls, count);
  else linear_of<float>(calls, count);
}
