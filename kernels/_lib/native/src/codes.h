// What the bits of a quantised weight and of a scale mean; in each lane of a vector.

// The low `bits` bits as an integer.
template <int bits>
inline VF low_integer(VU word) {
#if ZMLX_ISA == 512
  if constexpr (bits == 4) {
    // A table of sixteen floats looks at four bits of each lane by itself.
    const __m512 table = _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    return (VF)_mm512_permutexvar_ps((__m512i)word, table);
  }
#endif
  return __builtin_convertvector((VI)(word & ((1u << bits) - 1)), VF);
}

#if ZMLX_ISA == 512
// The sixteen floats of 4 bits, in the order of their codes.
inline VF floats_of_4() {
  return (VF)_mm512_setr_ps(0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f, -0.0f, -0.5f, -1.0f, -1.5f, -2.0f, -3.0f,
                            -4.0f, -6.0f);
}

// Lane i of `table` for the low 4 bits i of each lane.
inline VF look_up(VF table, VU word) {
  return (VF)_mm512_permutexvar_ps((__m512i)word, (__m512)table);
}
#endif

// The low 4 bits as a float of one sign, two exponent and one fraction bit (e2m1).
inline VF float_of_4(VU word) {
#if ZMLX_ISA == 512
  return look_up(floats_of_4(), word);
#else
  VU sign = (word << 28) & 0x80000000u;
#if ZMLX_ISA == 256
  const __m256 table = _mm256_setr_ps(0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f);
  VF size = (VF)_mm256_permutevar8x32_ps(table, (__m256i)word);
#else
  // Twice the value is the code itself up to 4; each comparison that holds is -1.
  VI code = (VI)(word & 7u);
  VI twice = code - (code > 4) - (code > 5) - 3 * (code > 6);
  VF size = 0.5f * __builtin_convertvector(twice, VF);
#endif
  return (VF)((VU)size | sign);
#endif
}

// The low 8 bits as a float of one sign, four exponent and three fraction bits (e4m3); all ones are a NaN.
inline VF float_of_8(VU word) {
  VU sign = (word << 24) & 0x80000000u;
  VU size = (word << 20) & 0x07f00000u;
  VF normal = (VF)(size + (120u << 23));
  VF subnormal = (VF)(size + (121u << 23)) - 0x1p-6f;
  VF value = size < 0x00800000u ? subnormal : normal;
  return (VF)((VU)(size == 0x07f00000u ? splat(__builtin_nanf("")) : value) | sign);
}

// Code number e of consecutive ones in `words`, in the low bits; what stands above it is left there.
template <int bits, int e>
inline VU code_at(const VU* words) {
  constexpr int word = e * bits / 32;
  constexpr int shift = e * bits % 32;
  VU code = words[word] >> shift;
  if constexpr (shift + bits > 32) {
    code |= words[word + 1] << (32 - shift);
  }
  return code;
}

template <Format F>
inline VF value_of(VU code) {
  if constexpr (F == Format::mxfp8) {
    return float_of_8(code);
  } else if constexpr (!is_affine(F)) {
    return float_of_4(code);
  } else {
    return low_integer<bits_of(F)>(code);
  }
}

// Bytes of a scale.
template <Type T, Format F>
constexpr int scale_size = !is_affine(F) ? 1 : T == Type::f32 ? 4 : 2;

// The scale, or the affine bias, in the low bits of each lane as a value of the dtype.
template <Type T, Format F>
inline VF scale_of(VU raw) {
  if constexpr (F == Format::nvfp4) {
    return float_of_8(raw);
  } else if constexpr (!is_affine(F)) {
    // Exponent 0 is mlx's 2**-127; float16 has neither the lowest nor the highest of them.
    VF power = (VF)(raw == 0u ? VU{} + 0x00400000u : raw << 23);
    return T == Type::f16 ? round_f16(power) : power;
  } else if constexpr (T == Type::f32) {
    return (VF)raw;
  } else {
    return T == Type::bf16 ? (VF)(raw << 16) : widen_f16(__builtin_convertvector(raw, VH));
  }
}
