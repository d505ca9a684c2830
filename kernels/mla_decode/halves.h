// The two bfloat16 of a word.
METAL_FUNC float low_half(uint word) {
  return float_of(word << 16);
}
METAL_FUNC float high_half(uint word) {
  return float_of(word & 0xffff0000u);
}
