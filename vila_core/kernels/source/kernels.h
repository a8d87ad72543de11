// What the instruction sets share.
#pragma once

#include <cstdint>

struct Call {
  const void* x;          // [tokens, inputs] float or bfloat16
  const uint8_t* weight;  // see linear.h
  const void* scale;      // [outputs / 16][groups][16] float, or half if half_scale
  const uint8_t* zero;    // likewise
  const float* bias;      // [outputs] or null
  void* y;                // [tokens, outputs], type of x
  int64_t tokens, outputs, inputs, group;
  int bits, bfloat16, half_scale;
};

struct Quantised {  // the activations; see activations.h
  int8_t* q;        // [tiles][inputs / 4][tokens of the tile][4]
  float* scale;     // [tiles][groups][tokens of the tile]
  float* sum;       // likewise: of the rounded values
  int64_t rows;     // tokens of a tile, at most
  bool shifted;     // q is unsigned, 128 more than the value; sum is unused
};

struct AttendCall {  // all bfloat16; strides in elements, dims of a row side by side
  const uint16_t *q, *k, *v;  // [heads, queries, dim], [kv_heads, keys, dim] twice
  const uint16_t* mask;       // [queries, keys], added to the scores, or null
  uint16_t* out;              // [heads, queries, dim]
  int64_t heads, kv_heads, queries, keys, dim;
  int64_t q_head, q_row, k_head, k_row, v_head, v_row, out_head, out_row;
  float scale;
  int causal;      // a query sees the keys up to its own, the last of them the last key
  int eight_bits;  // queries and keys may be rounded to 8 bits; vila_attend_few never does
};

struct DecoderLayer {  // x, y and tokens of the products are left open
  const uint16_t *input_norm, *post_norm;  // [width]
  Call qkv[3], out, gate_up[2], down;
};

struct DecoderCall {  // all bfloat16
  const DecoderLayer* layers;
  const uint16_t *norm, *hidden, *cos, *sin;  // [width], behind the last layer; [tokens, width]; [tokens, dim] twice
  const uint16_t* mask;                       // [tokens, extent], added to the scores; null: see AttendCall's causal
  uint16_t *keys, *values;                    // [layers, kv_heads, cache_rows, dim]
  uint16_t* out;                              // [tokens, width]
  const int64_t* rows;                        // [tokens], of the cache, that are written
  int64_t count, tokens, width, heads, kv_heads, dim, cache_rows, extent;  // extent: rows of the cache that are read
  float eps, scale;
  int set;  // of instructions, for the products
};

struct TowerLayer {  // x, y and tokens of the products are left open
  const uint16_t *weight1, *bias1, *weight2, *bias2;  // [width], of the normalisations
  Call qkv[3], out, fc1, fc2;
};

struct TowerCall {  // all bfloat16
  const TowerLayer* layers;
  const uint16_t* hidden;  // [pictures, tokens, width]
  uint16_t* out;           // likewise
  int64_t count, pictures, tokens, width, heads;
  float eps, scale;
  int set;  // of instructions, for the products
};

uint8_t* thread_scratch(int64_t bytes);  // of this thread, 64-byte aligned, valid until its next call

// The entry points that others build on; each is described where it is defined.
extern "C" {
void vila_linear(const Call* calls, int count, int set);
void vila_attend(const AttendCall* call, int threads);
void vila_attend_few(const AttendCall* call, int threads);
void vila_gelu(const uint16_t* x, uint16_t* y, int64_t count);
void vila_silu_mul(const uint16_t* gate, const uint16_t* up, uint16_t* y, int64_t count);
void vila_rms_norm(const uint16_t* x, const uint16_t* weight, uint16_t* y, int64_t rows, int64_t width, float eps);
void vila_add_rms_norm(uint16_t* x, const uint16_t* added, const uint16_t* weight, uint16_t* y, int64_t rows, int64_t width, float eps);
void vila_layer_norm(const uint16_t* x, const uint16_t* weight, const uint16_t* bias, uint16_t* y, int64_t rows, int64_t width,
                     float eps);
void vila_add_layer_norm(uint16_t* x, const uint16_t* added, const uint16_t* weight, const uint16_t* bias, uint16_t* y, int64_t rows,
                         int64_t width, float eps);
void vila_rotate(const uint16_t* x, const uint16_t* cos, const uint16_t* sin, uint16_t* y, int64_t count, int64_t tokens,
                 int64_t dim, int64_t head_stride, int64_t row_stride);
}
