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
  int causal;  // a query sees the keys up to its own, the last of them the last key
};

uint8_t* thread_scratch(int64_t bytes);  // of this thread, 64-byte aligned, valid until its next call
