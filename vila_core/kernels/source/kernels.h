// What the instruction sets share: the calls, and the table of functions that each of them fills.
//
// Inputs and outputs are float or bfloat16, told by `bfloat16`; what is summed is float or whole numbers.
#pragma once

#include <cstdint>

struct Call {             // a linear layer; with bits of 32 the weights are float, see floats.h, and have no scale and zero
  const void* x;          // [tokens, inputs]
  const uint8_t* weight;  // see linear.h
  const void* scale;      // [outputs / 16][groups][16] float, or half if half_scale
  const uint8_t* zero;    // likewise
  const float* bias;      // [outputs] or null
  void* y;                // [tokens, outputs], type of x
  int64_t tokens, outputs, inputs, group;
  int bits, bfloat16, half_scale;
};

struct AttendCall {         // strides in elements, dims of a row side by side
  const void *q, *k, *v;    // [heads, queries, dim], [kv_heads, keys, dim] twice
  const void* mask;         // [queries, keys], added to the scores, or null
  void* out;                // [heads, queries, dim]
  int64_t heads, kv_heads, queries, keys, dim;
  int64_t q_head, q_row, k_head, k_row, v_head, v_row, out_head, out_row;
  float scale;
  int causal;      // a query sees the keys up to its own, the last of them the last key
  int eight_bits;  // queries and keys may be rounded to 8 bits; attend_few never does
  int bfloat16;
};

struct DecoderLayer {  // x, y and tokens of the products are left open
  const void *input_norm, *post_norm;  // [width]
  Call qkv[3], out, gate_up[2], down;
};

struct DecoderCall {
  const DecoderLayer* layers;
  const void *norm, *hidden, *cos, *sin;  // [width], behind the last layer; [tokens, width]; [tokens, dim] twice
  const void* mask;                       // [tokens, extent], added to the scores; null: see AttendCall's causal
  void *keys, *values;                    // [layers, kv_heads, cache_rows, dim]
  void* out;                              // [tokens, width]
  const int64_t* rows;                    // [tokens], of the cache, that are written
  int64_t count, tokens, width, heads, kv_heads, dim, cache_rows, extent;  // extent: rows of the cache that are read
  float eps, scale;
  int bfloat16;
};

struct TowerLayer {  // x, y and tokens of the products are left open
  const void *weight1, *bias1, *weight2, *bias2;  // [width], of the normalisations
  Call qkv[3], out, fc1, fc2;
};

struct TowerCall {
  const TowerLayer* layers;
  const void* hidden;  // [pictures, tokens, width]
  void* out;           // likewise
  int64_t count, pictures, tokens, width, heads;
  float eps, scale;
  int bfloat16;
};

struct RowsCall {        // one operation on each value or row, see rows.h
  const void *x, *other;  // [rows, width] each; other: what is multiplied, or cos [rows, width] of rotate
  const void *weight, *bias;  // [width]; weight: also sin of rotate
  void* y;                // [rows, width]
  int64_t rows, width;
  int64_t heads, head_stride, row_stride;  // of rotate's x [heads, rows, width]; y lies without gaps
  float eps;
  int bfloat16;
};

struct Filter {  // what each output of one direction is made of, weights times 2^22
  const int32_t *first, *count;  // [outputs], of the inputs
  const int32_t* weights;        // [outputs, taps]
  int64_t outputs, taps;
};

struct ResizeCall {
  const uint8_t* x;  // [height, width, 3]
  uint8_t* y;        // [rows' outputs, columns' outputs, 3]
  int64_t height, width;
  Filter columns, rows;
};

struct Set {  // of instructions
  const char* name;
  bool (*runs_here)();
  void (*linear)(const Call* calls, int count);  // layers with the same x, inputs, group and bits
  void (*attend)(const AttendCall& call, int threads);
  void (*attend_few)(const AttendCall& call, int threads);
  void (*decoder)(const DecoderCall& call);
  void (*tower)(const TowerCall& call);
  void (*gelu)(const RowsCall& call);
  void (*silu_mul)(const RowsCall& call);
  void (*rms_norm)(const RowsCall& call);
  void (*layer_norm)(const RowsCall& call);
  void (*rotate)(const RowsCall& call);
  void (*resize)(const ResizeCall& call);
};

// Memory of the calling thread, 64-byte aligned, valid until its next call with the same use.
enum Use { kWork, kActivations, kBetween };
uint8_t* scratch(Use use, int64_t bytes);
