// Contracts within a statement, at file scope: see metal_qmv.h.
#pragma METAL fp contract(on)
// Eight weights from a word of nibbles.
METAL_FUNC void dequantise(uint word, float scale, float bias, thread float* weights) {
  for (int i = 0; i < 8; ++i) {
    weights[i] = scale * float((word >> (4 * i)) & 0xfu) + bias;
  }
}

METAL_FUNC float dot_of_eight(thread const float* x, thread const float* weights) {
  float dot = 0.0f;
  for (int i = 0; i < 8; ++i) {
    dot += x[i] * weights[i];
  }
  return dot;
}
#pragma METAL fp contract(off)
