// A step begins: x = the embedding of a token, dequantised by one fused step as MLX does, where `by_token` says that a
// token is given, or the row that is given.
if (by_token) {
  const int token = *reinterpret_cast<const int*>(given);
  const size_t row = token < 0 ? token + VOCABULARY : token;
  for (int i = threadIdx.x; i < D / 8; i += blockDim.x) {
    const uint32_t word = w[row * (D / 8) + i];
    const T scale = s[row * (D / GROUP) + i * 8 / GROUP];
    const T bias = z[row * (D / GROUP) + i * 8 / GROUP];
    for (int j = 0; j < 8; ++j) {
      x[i * 8 + j] = __hfma(scale, T(float((word >> (4 * j)) & 15)), bias);
    }
  }
} else {
  for (int i = threadIdx.x; i < D; i += blockDim.x) {
    x[i] = given[i];
  }
}
