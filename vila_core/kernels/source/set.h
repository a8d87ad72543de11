// All that one instruction set compiles, inside a namespace that has its operations on 16 lanes: I (int32, or 64 bytes)
// and F (float), see ops_scalar.h for what each of them does; dot4; and what fits its registers and suits its products:
//   kRows x kBlocks, kDirectRows       tokens by blocks of 16 outputs of a product, and tokens if they are few:
//   kDirectTokens                      up to so many
//   kAttendRows x kAttendBlocks        queries by blocks of 16 keys
//   kMoves, kShortSums                 which forms of weights are quickest, see tile.h
//   kHalves                            whether large 8-bit activations are halved, see activations.h
//   kByteZero                          what dot4 takes off unsigned bytes, because it multiplies signed ones alone
static inline int64_t up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

#include "lanes.h"
#include "rows.h"
#include "floats.h"
#include "linear.h"
#include "queries.h"
#ifdef VILA_BF16
#include "attention_bf16.h"
#endif
#include "attention.h"
#include "attention_few.h"
#include "stacks.h"
#include "resize.h"

#define VILA_SET(name, runs_here) \
  extern const Set kSet = {name, runs_here, linear, attend, attend_few, decoder, tower, gelu, silu_mul, rms_norm, layer_norm, rotate, resize};
