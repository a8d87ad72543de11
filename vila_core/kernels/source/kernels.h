// What the instruction sets share.
#pragma once

#include <cstdint>

struct Call {
  const void* x;          // [tokens, inputs] float or bfloat16
  const uint8_t* weight;  // as above
  const float* scale;     // [outputs / 16][groups][16]
  const float* shift;     // scale * zero, likewise
  const float* bias;      // [outputs] or null
  void* y;                // [tokens, outputs], type of x
  int64_t tokens, outputs, inputs, group;
  int bits, bfloat16;
};

struct Quantised {  // the activations
  int8_t* q;         // [tokens, inputs]
  float* scale;      // [tokens, groups]
  float* sum;        // [tokens, groups]: of the values
};

uint8_t* thread_scratch(int64_t bytes);  // of this thread, 64-byte aligned, valid until its next call
