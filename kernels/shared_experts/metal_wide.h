// Eight weights from a word of nibbles.
METAL_FUNC void dequantise(uint word, float scale, float bias, thread float* weights) {
#pragma METAL fp contract(on)
  for (int i = 0; i < 8; ++i) {
    weights[i] = scale * float((word >> (4 * i)) & 0xfu) + bias;
  }
}

METAL_FUNC float dot_of_eight(thread const float* x, thread const float* weights) {
#pragma METAL fp contract(on)
  float dot = 0.0f;
  for (int i = 0; i < 8; ++i) {
    dot += x[i] * weights[i];
  }
  return dot;
}
