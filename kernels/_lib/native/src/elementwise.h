// SwiGLU, combine and conversions, with the roundings of mlx 0.32.4 on the CPU.

template <class F>
inline void each(int64_t n, F f) {
  int64_t i = 0;
  for (; i + W <= n; i += W) {
    f(i, W);
  }
  if (i < n) {
    f(i, int(n - i));
  }
}

inline VF load_some(const float* p, int n) {
  if (n == W) {
    return loadu<VF>(p);
  }
  VF v{};
  for (int i = 0; i < n; i++) {
    v[i] = p[i];
  }
  return v;
}

inline void store_some(float* p, VF v, int n) {
  if (n == W) {
    storeu(p, v);
    return;
  }
  for (int i = 0; i < n; i++) {
    p[i] = v[i];
  }
}

// mlx's `simd::exp`: 2**(x * log2 e), the integer part by exponent bits, the rest by a polynomial of fused steps.
// Its floor(x + 0.5) is taken in double there; counting the fraction gives the same integer in float.
inline VF exp_mlx(VF in) {
  VF clamped = in > 88.0f ? splat(88.0f) : in;
  clamped = clamped >= -88.0f ? clamped : splat(-88.0f);
  VF x = clamped * 1.442695f;
  VF whole = __builtin_convertvector(__builtin_convertvector(x, VI), VF);
  whole = whole > x ? whole - 1.0f : whole;
  whole = x - whole >= 0.5f ? whole + 1.0f : whole;
  VF f = x - whole;
  VF p = splat(1.535336188319500e-4f);
  p = fma(p, f, splat(1.339887440266574e-3f));
  p = fma(p, f, splat(9.618437357674640e-3f));
  p = fma(p, f, splat(5.550332471162809e-2f));
  p = fma(p, f, splat(2.402264791363012e-1f));
  p = fma(p, f, splat(6.931472028550421e-1f));
  p = fma(p, f, splat(1.0f));
  VF power = (VF)((VU)(__builtin_convertvector(whole, VI) + 127) << 23);
  VF result = power * p;
  result = in > 88.0f ? splat(__builtin_inff()) : result;
  result = in < -88.0f ? VF{} : result;
  return in == in ? result : in;
}

template <Type T>
inline VF sigmoid(VF x) {
  VF e = round_to<T>(exp_mlx(abs(x)));
  VF y = 1.0f / (1.0f + e);
  return round_to<T>(x < 0.0f ? y : 1.0f - y);
}

template <Type T>
inline VF swiglu_values(VF gate, VF up) {
  return round_to<T>(round_to<T>(gate * sigmoid<T>(gate)) * up);
}

// A NaN fails both comparisons and stays.
template <Type T>
inline VF clamped_swiglu_values(VF gate, VF up, Clamp c) {
  gate = gate > c.limit ? splat(c.limit) : gate;
  up = up < -c.limit ? splat(-c.limit) : up;
  up = up > c.limit ? splat(c.limit) : up;
  VF silu = round_to<T>(gate * sigmoid<T>(round_to<T>(c.alpha * gate)));
  return round_to<T>(round_to<T>(up + 1.0f) * silu);
}

template <Type T>
void swiglu(const float* gate, const float* up, const Clamp* clamp, float* h, int64_t n) {
  each(n, [&](int64_t i, int w) {
    VF g = load_some(gate + i, w), u = load_some(up + i, w);
    store_some(h + i, clamp ? clamped_swiglu_values<T>(g, u, *clamp) : swiglu_values<T>(g, u), w);
  });
}

// A float32 NaN may have only low bits set, which rounding to bfloat16 would carry into an infinity.
template <Type T>
inline VF round_any(VF x) {
  return x == x ? round_to<T>(x) : splat(__builtin_nanf(""));
}

template <Type T>
void combine(const float* y, int64_t stride, const float* score, int k, bool product_f32, float* out, int64_t n) {
  each(n, [&](int64_t i, int w) {
    // mlx does not sum an axis of one element, so that a lone -0 stays -0.
    VF acc = splat(k == 1 ? -0.0f : 0.0f);
    for (int j = 0; j < k; j++) {
      VF p = load_some(y + j * stride + i, w) * score[j];
      acc += product_f32 ? p : round_to<T>(p);
    }
    store_some(out + i, round_any<T>(acc), w);
  });
}

template <Type T>
void load_values(const uint8_t* in, float* out, int64_t n) {
  if constexpr (T == Type::f32) {
    __builtin_memcpy(out, in, std::size_t(n) * 4);
  } else {
    each(n, [&](int64_t i, int w) {
      VH h{};
      __builtin_memcpy(&h, in + 2 * i, std::size_t(2 * w));
      store_some(out + i, T == Type::bf16 ? widen_bf16(h) : widen_f16(h), w);
    });
  }
}

template <Type T>
void store_values(const float* in, uint8_t* out, int64_t n) {
  if constexpr (T == Type::f32) {
    __builtin_memcpy(out, in, std::size_t(n) * 4);
  } else {
    each(n, [&](int64_t i, int w) {
      VF v = load_some(in + i, w);
      VH h = T == Type::bf16 ? __builtin_convertvector((VU)v >> 16, VH) : narrow_f16(v);
      __builtin_memcpy(out + 2 * i, &h, std::size_t(2 * w));
    });
  }
}

template <Type T>
void add_values(float* y, const float* bias, int64_t n) {
  each(n, [&](int64_t i, int w) { store_some(y + i, round_to<T>(load_some(y + i, w) + load_some(bias + i, w)), w); });
}

template <Type T>
void round_values(const float* in, float* out, int64_t n) {
  each(n, [&](int64_t i, int w) { store_some(out + i, round_any<T>(load_some(in + i, w)), w); });
}

void exp_values(const float* in, float* out, int64_t n) {
  each(n, [&](int64_t i, int w) { store_some(out + i, exp_mlx(load_some(in + i, w)), w); });
}
