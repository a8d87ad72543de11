"""Versions of ONNX's operators that the graphs are written in."""

OPSET = 19  # the first whose QuantizeLinear takes float16; TensorRT 10.0 already reads 20
OPSET_INT4 = 21  # the first with 4-bit tensors and blocks
