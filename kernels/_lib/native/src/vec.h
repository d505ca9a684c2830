// Vectors of W 32-bit lanes for one instruction set. Included only by isa.inl, which defines ZMLX_ISA and opens
// a namespace of its own: nothing here may be shared between translation units built with different flags.

#if ZMLX_ISA == 512
constexpr int W = 16;
#elif ZMLX_ISA == 256
constexpr int W = 8;
#else
constexpr int W = 4;
#endif

typedef float VF __attribute__((vector_size(W * 4)));
typedef uint32_t VU __attribute__((vector_size(W * 4)));
typedef int32_t VI __attribute__((vector_size(W * 4)));
typedef uint16_t VH __attribute__((vector_size(W * 2)));

template <class V>
inline V loadu(const void* p) {
  V v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}

template <class V>
inline void storeu(void* p, V v) {
  __builtin_memcpy(p, &v, sizeof v);
}

inline VF splat(float x) {
  return x - VF{};  // x + 0 would turn -0 into 0
}

inline VF abs(VF x) {
  return (VF)((VU)x & 0x7fffffffu);
}

inline VF fma(VF a, VF b, VF c) {
#if ZMLX_ISA == 512
  return (VF)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif ZMLX_ISA == 256
  return (VF)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
  VF r;
  for (int i = 0; i < W; i++) {
    r[i] = __builtin_fmaf(a[i], b[i], c[i]);
  }
  return r;
#endif
}

inline VF widen_bf16(VH h) {
  return (VF)(__builtin_convertvector(h, VU) << 16);
}

// float32 -> bfloat16, nearest even, kept as float32. Exact for every NaN whose low 16 bits are clear: that is every
// NaN made from bfloat16 operands.
inline VF round_bf16(VF x) {
  VU u = (VU)x;
  return (VF)((u + ((u >> 16) & 1u) + 0x7fffu) & 0xffff0000u);
}

#if ZMLX_ISA == 512
inline VF widen_f16(VH h) {
  return (VF)_mm512_cvtph_ps((__m256i)h);
}
inline VH narrow_f16(VF x) {
  return (VH)_mm512_cvtps_ph((__m512)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
#elif ZMLX_ISA == 256
inline VF widen_f16(VH h) {
  return (VF)_mm256_cvtph_ps((__m128i)h);
}
inline VH narrow_f16(VF x) {
  return (VH)_mm256_cvtps_ph((__m256)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
#else
inline VF widen_f16(VH h) {
  VU u = __builtin_convertvector(h, VU);
  VU sign = (u & 0x8000u) << 16;
  VU rest = u & 0x7fffu;
  // Moving the exponent up by 112 also normalises subnormals; infinities and NaNs need the top exponent.
  VF value = (VF)(rest << 13) * 0x1p112f;
  VU top = (VU)(rest >= 0x7c00u) & 0x7f800000u;
  return (VF)((VU)value | top | sign);
}
// Nearest even by the float adder: 2**(e + 15) has a last place of four times that of a half with x's exponent e.
inline VH narrow_f16(VF x) {
  VU u = (VU)x;
  VU sign = (u >> 16) & 0x8000u;
  VU exponent = u & 0x7f800000u;
  VU nan = (VU)((u & 0x7fffffffu) > 0x7f800000u);
  exponent = exponent < 0x38800000u ? VU{} + 0x38800000u : exponent;
  VU huge = (VU)(exponent >= 0x47800000u);
  VF magic = (VF)((exponent & ~huge) + (15u << 23));
  VU sum = (VU)(magic + 4.0f * (VF)((VU)(abs(x)) & ~huge));
  VU half = ((sum >> 13) & 0x7c00u) + (sum & 0x0fffu);
  half = (huge & 0x7c00u) | (~huge & half);
  half = (nan & 0x7e00u) | (~nan & half);
  return __builtin_convertvector(half | sign, VH);
}
#endif

inline VF round_f16(VF x) {
  return widen_f16(narrow_f16(x));
}

// out[j] lane r = the j-th 32-bit word at rows[r] + offset, for four words.
inline void load4(const uint8_t* const* rows, int64_t offset, VU* out) {
#if ZMLX_ISA == 512
  auto four = [&](int r) {
    __m512i v = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i*)(rows[r] + offset)));
    v = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i*)(rows[r + 4] + offset)), 1);
    v = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i*)(rows[r + 8] + offset)), 2);
    return _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i*)(rows[r + 12] + offset)), 3);
  };
  __m512i a = four(0), b = four(1), c = four(2), d = four(3);
  __m512i ab0 = _mm512_unpacklo_epi32(a, b), ab1 = _mm512_unpackhi_epi32(a, b);
  __m512i cd0 = _mm512_unpacklo_epi32(c, d), cd1 = _mm512_unpackhi_epi32(c, d);
  out[0] = (VU)_mm512_unpacklo_epi64(ab0, cd0);
  out[1] = (VU)_mm512_unpackhi_epi64(ab0, cd0);
  out[2] = (VU)_mm512_unpacklo_epi64(ab1, cd1);
  out[3] = (VU)_mm512_unpackhi_epi64(ab1, cd1);
#elif ZMLX_ISA == 256
  auto two = [&](int r) {
    __m256i v = _mm256_castsi128_si256(_mm_loadu_si128((const __m128i*)(rows[r] + offset)));
    return _mm256_inserti128_si256(v, _mm_loadu_si128((const __m128i*)(rows[r + 4] + offset)), 1);
  };
  __m256i a = two(0), b = two(1), c = two(2), d = two(3);
  __m256i ab0 = _mm256_unpacklo_epi32(a, b), ab1 = _mm256_unpackhi_epi32(a, b);
  __m256i cd0 = _mm256_unpacklo_epi32(c, d), cd1 = _mm256_unpackhi_epi32(c, d);
  out[0] = (VU)_mm256_unpacklo_epi64(ab0, cd0);
  out[1] = (VU)_mm256_unpackhi_epi64(ab0, cd0);
  out[2] = (VU)_mm256_unpacklo_epi64(ab1, cd1);
  out[3] = (VU)_mm256_unpackhi_epi64(ab1, cd1);
#else
  VU a = loadu<VU>(rows[0] + offset), b = loadu<VU>(rows[1] + offset);
  VU c = loadu<VU>(rows[2] + offset), d = loadu<VU>(rows[3] + offset);
  VU ab0 = __builtin_shufflevector(a, b, 0, 4, 1, 5), ab1 = __builtin_shufflevector(a, b, 2, 6, 3, 7);
  VU cd0 = __builtin_shufflevector(c, d, 0, 4, 1, 5), cd1 = __builtin_shufflevector(c, d, 2, 6, 3, 7);
  out[0] = __builtin_shufflevector(ab0, cd0, 0, 1, 4, 5);
  out[1] = __builtin_shufflevector(ab0, cd0, 2, 3, 6, 7);
  out[2] = __builtin_shufflevector(ab1, cd1, 0, 1, 4, 5);
  out[3] = __builtin_shufflevector(ab1, cd1, 2, 3, 6, 7);
#endif
}

// out[j] lane r = the j-th 32-bit word at rows[r] + offset, for n words. Nothing outside of them and of what stands
// before them in the row is read.
template <int n>
inline void load_words(const uint8_t* const* rows, int64_t offset, VU* out) {
  for (int j = 0; j + 4 <= n; j += 4) {
    load4(rows, offset + 4 * j, out + j);
  }
  constexpr int left = n % 4;
  if constexpr (left != 0) {
    const int64_t back = 4 * (4 - left);
    const int64_t at = offset + 4 * (n - left);
    if (at >= back) {
      VU four[4];
      load4(rows, at - back, four);
      for (int j = 0; j < left; j++) {
        out[n - left + j] = four[4 - left + j];
      }
    } else {
      for (int j = 0; j < left; j++) {
        for (int r = 0; r < W; r++) {
          out[n - left + j][r] = loadu<uint32_t>(rows[r] + at + 4 * j);
        }
      }
    }
  }
}
