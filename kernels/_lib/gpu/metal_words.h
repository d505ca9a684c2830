// The words of the shared sources that are not Metal's own.
// mul_rn and add_rn round each on its own: a compiler that contracts a*b+c makes one rounding of two.
#pragma METAL fp contract(off)
METAL_FUNC float mul_rn(float a, float b) {
  return a * b;
}
METAL_FUNC float add_rn(float a, float b) {
  return a + b;
}
METAL_FUNC float div_rn(float a, float b) {
  return a / b;
}
METAL_FUNC float fused(float a, float b, float c) {
  return metal::fma(a, b, c);
}
METAL_FUNC float exp_fast(float x) {
  return metal::fast::exp(x);
}
METAL_FUNC float exp_precise(float x) {
  return metal::precise::exp(x);
}
METAL_FUNC float rsqrt_precise(float x) {
  return metal::precise::rsqrt(x);
}
METAL_FUNC float exp2_precise(float x) {
  return metal::precise::exp2(x);
}
METAL_FUNC float sin_fast(float x) {
  return metal::fast::sin(x);
}
METAL_FUNC float cos_fast(float x) {
  return metal::fast::cos(x);
}
// What MLX's own rotation calls on this backend.
METAL_FUNC float sin_of_rope(float x) {
  return metal::fast::sin(x);
}
METAL_FUNC float cos_of_rope(float x) {
  return metal::fast::cos(x);
}
METAL_FUNC uint bits_of(float x) {
  return as_type<uint>(x);
}
METAL_FUNC float float_of(uint x) {
  return as_type<float>(x);
}

// N neighbours.
template <typename T, int N>
struct Pack {
  T at[N];
};
template <typename T, int N>
METAL_FUNC Pack<T, N> load_pack(const device T* from) {
  Pack<T, N> pack;
  for (int i = 0; i < N; ++i) {
    pack.at[i] = from[i];
  }
  return pack;
}
template <typename T, int N>
METAL_FUNC void store_pack(device T* to, Pack<T, N> pack) {
  for (int i = 0; i < N; ++i) {
    to[i] = pack.at[i];
  }
}
