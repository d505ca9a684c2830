// 4-bit quantised rows times a vector on CUDA, by the two algorithms of MLX 0.32.4.
// MLX multiplies 8 and more rows of x on tensor cores (weights dequantised to T by one fused step, m16n8k16 with a
// float32 accumulator, k ascending) and fewer by a warp a row with 16 accumulators of type T in each lane.
// Both are chains of roundings: another order of the same sum has other bits.

constexpr int GROUP = 64;  // weights that share a scale and a bias
constexpr unsigned ALL_LANES = 0xffffffffu;

// 16 rows of weights times one vector on tensor cores, by one warp. All weights of the 16 rows are requested at once
// into the warp's own shared memory, so that the memory system is never asked for one group at a time.
// Rows 0..7 and 8..15 may lie apart: gate rows and up rows, or sixteen neighbours.
// Within a step the tensor core aligns all products before it adds them, so weights i and i + 4 of eight may sit where
// 2 i and 2 i + 1 belong, as long as x does the same: they come out of a word by one shift.
template <typename T, int K>
struct MmaRows {
  static constexpr int CHUNK = 128;  // weights of a row that are copied by four lanes, 16 bytes each
  static constexpr int CHUNKS = K / CHUNK;
  static constexpr int STAGES = CHUNKS < 4 ? CHUNKS : 4;
  static constexpr int STAGE = (CHUNKS + STAGES - 1) / STAGES;
  static constexpr int GROUPS = K / GROUP;
  static constexpr int PAD = GROUPS * 2 % 64 == 0 ? 16 : 0;  // else the scales of all rows lie in two banks
  static constexpr int SCALE_ROW = GROUPS * 2 + PAD;
  static constexpr int WEIGHT_BYTES = 16 * K / 2;
  static constexpr int SCALE_BYTES = 16 * SCALE_ROW;
  static constexpr int BYTES = WEIGHT_BYTES + 2 * SCALE_BYTES;
  using P = Pair<T>;
  static_assert(K % CHUNK == 0, "a row is copied in chunks of 128 weights");

  // Requests rows `first`.. of w1, s1, z1 and `second`.. of w2, s2, z2, eight of each.
  static __device__ __forceinline__ void request(
      unsigned char* own, const uint32_t* w1, const uint32_t* w2, const T* s1, const T* s2, const T* z1, const T* z2,
      size_t first, size_t second, int lane) {
    const int row = lane / 4;
    const int piece = lane % 4;
    const unsigned char* weights[2] = {
        reinterpret_cast<const unsigned char*>(w1) + (first + row) * (K / 2) + piece * 16,
        reinterpret_cast<const unsigned char*>(w2) + (second + row) * (K / 2) + piece * 16};
    const T* scales[2] = {s1 + first * GROUPS, s2 + second * GROUPS};
    const T* biases[2] = {z1 + first * GROUPS, z2 + second * GROUPS};
    for (int half = 0; half < 2; ++half) {
      const unsigned char* s = reinterpret_cast<const unsigned char*>(scales[half]);
      const unsigned char* z = reinterpret_cast<const unsigned char*>(biases[half]);
      unsigned char* to = own + WEIGHT_BYTES + half * (SCALE_BYTES / 2);
      for (int i = lane; i < GROUPS; i += 32) {  // 8 rows of 2 * GROUPS bytes are GROUPS copies
        const int at = i * 16 + i * 16 / (GROUPS * 2) * PAD;
        copy_16_bytes(to + at, s + i * 16);
        copy_16_bytes(to + SCALE_BYTES + at, z + i * 16);
      }
    }
    const int swizzled = piece ^ ((row >> 1) & 3);
#pragma unroll
    for (int stage = 0; stage < STAGES; ++stage) {
#pragma unroll
      for (int c = stage * STAGE; c < (stage + 1) * STAGE && c < CHUNKS; ++c) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          copy_16_bytes(own + (c * 16 + half * 8 + row) * 64 + swizzled * 16, weights[half] + c * 64);
        }
      }
      close_copies();
    }
  }

  // Puts K values of x where `multiply` reads them: a lane's two pairs of two steps side by side.
  static __device__ __forceinline__ void spread(unsigned* to, const T* x, int thread, int threads) {
    const unsigned short* values = reinterpret_cast<const unsigned short*>(x);
    for (int i = thread; i < K / 2; i += threads) {
      const int from = (i / 4) * 8 + i % 4;
      to[(i / 16) * 16 + (i % 4) * 4 + ((i % 16) / 8) * 2 + (i % 8) / 4] =
          values[from] | (unsigned(values[from + 4]) << 16);
    }
  }

  struct Chunk {
    uint4 first[4], second[4], x[4];
    unsigned short scale[2][2], bias[2][2];  // by group and by half of the rows
  };

  static __device__ __forceinline__ Chunk read(const unsigned char* own, const unsigned* x, int chunk, int lane) {
    const int row = lane / 4;
    const unsigned char* at = own + chunk * 1024 + row * 64;
    const int swizzle = ((row >> 1) & 3) * 16;
    Chunk c;
#pragma unroll
    for (int piece = 0; piece < 4; ++piece) {
      c.first[piece] = *reinterpret_cast<const uint4*>(at + ((piece * 16) ^ swizzle));
      c.second[piece] = *reinterpret_cast<const uint4*>(at + 512 + ((piece * 16) ^ swizzle));
      c.x[piece] = *reinterpret_cast<const uint4*>(x + (chunk * 4 + piece) * 16 + (lane % 4) * 4);
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const unsigned char* scales = own + WEIGHT_BYTES + (half * 8 + row) * SCALE_ROW + chunk * 4;
#pragma unroll
      for (int group = 0; group < 2; ++group) {
        c.scale[group][half] = reinterpret_cast<const unsigned short*>(scales)[group];
        c.bias[group][half] = reinterpret_cast<const unsigned short*>(scales + SCALE_BYTES)[group];
      }
    }
    return c;
  }

  // Reads a chunk as soon as its copies are there; chunks are read in their order.
  static __device__ __forceinline__ Chunk await(const unsigned char* own, const unsigned* x, int chunk, int lane) {
    if (chunk % STAGE == 0) {
      await_copies(STAGES - 1 - chunk / STAGE);
      __syncwarp();
    }
    return read(own, x, chunk, lane);
  }

  // The dequantised weights of one of a chunk's eight steps.
  static __device__ __forceinline__ void dequantise(unsigned (&a)[4], const Chunk& from, int step, int shift) {
    const int piece = step / 2;
    const uint4 first = from.first[piece], second = from.second[piece];
    const unsigned words[2][4] = {{first.x, first.y, first.z, first.w}, {second.x, second.y, second.z, second.w}};
#pragma unroll
    for (int part = 0; part < 4; ++part) {
      const int half = part % 2;
      const typename P::type q = P::from_nibbles(words[half][step % 2 * 2 + part / 2] >> shift);
      const typename P::type v = __hfma2(q, P::twice(from.scale[piece / 2][half]), P::twice(from.bias[piece / 2][half]));
      a[part] = reinterpret_cast<const unsigned&>(v);
    }
  }

  // c[0]: the sum of row lane / 4; c[2]: of row 8 + lane / 4. While the tensor core takes a step of one chunk, the same
  // step of the next chunk is dequantised.
  static __device__ __forceinline__ void multiply(float (&c)[4], const unsigned char* own, const unsigned* x, int lane) {
    const int shift = 4 * (lane % 4);
    c[0] = c[1] = c[2] = c[3] = 0.0f;
    unsigned a[8][4];
    Chunk next = await(own, x, 0, lane);
#pragma unroll
    for (int step = 0; step < 8; ++step) {
      dequantise(a[step], next, step, shift);
    }
#pragma unroll 2
    for (int chunk = 1; chunk <= CHUNKS; ++chunk) {
      const uint4 b[4] = {next.x[0], next.x[1], next.x[2], next.x[3]};
      if (chunk < CHUNKS) {
        next = await(own, x, chunk, lane);
      }
#pragma unroll
      for (int step = 0; step < 8; ++step) {
        const uint4 four = b[step / 2];
        P::mma(c, a[step], step % 2 == 0 ? four.x : four.z, step % 2 == 0 ? four.y : four.w);
        // Past the last chunk this is the last one again, and nobody reads it.
        dequantise(a[step], next, step, shift);
      }
    }
  }
};

// One row of weights times one vector by a warp, as MLX's matrix-vector kernel: 16 neighbouring weights a lane, 512 a
// step, 16 accumulators a lane, their float32 sum in order and across the lanes by halves.
// ACCURACY 0: accumulators of type T and weights rounded to T, as MLX; 1: float32 with fused steps; 2: float32 without.
template <typename T, int K, int ACCURACY>
struct SlotRows {
  static constexpr int STEP = 512;
  static constexpr int STEPS = (K + STEP - 1) / STEP;
  static constexpr int GROUPS = K / GROUP;
  using P = Pair<T>;
  using Pairs = typename P::type;
  static_assert(K % GROUP == 0, "a row is whole groups");
  static constexpr int LANES_OF_GROUPS = (GROUPS + 31) / 32;  // groups whose scale a lane holds

  Pairs x[STEPS][8];  // x[i] and x[i + 4] of every eight

  static __device__ __forceinline__ bool within(int step, int lane) {
    return K % STEP == 0 || step * STEP + lane * 16 < K;
  }

  __device__ __forceinline__ void load(const T* from, int lane) {
#pragma unroll
    for (int step = 0; step < STEPS; ++step) {
#pragma unroll
      for (int eight = 0; eight < 2; ++eight) {
        uint4 v = make_uint4(0, 0, 0, 0);
        if (within(step, lane)) {
          v = *reinterpret_cast<const uint4*>(from + step * STEP + lane * 16 + eight * 8);
        }
        const unsigned pairs[4] = {
            __byte_perm(v.x, v.z, 0x5410), __byte_perm(v.x, v.z, 0x7632), __byte_perm(v.y, v.w, 0x5410), __byte_perm(v.y, v.w, 0x7632)};
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          x[step][eight * 4 + i] = reinterpret_cast<const Pairs&>(pairs[i]);
        }
      }
    }
  }

  struct Row {
    uint2 words[STEPS];
    unsigned scale_and_bias[LANES_OF_GROUPS];
  };

  static __device__ __forceinline__ Row request(const uint32_t* w, const T* scales, const T* biases, size_t row, int lane) {
    Row r;
    const uint2* from = reinterpret_cast<const uint2*>(w + row * (K / 8)) + lane;
#pragma unroll
    for (int step = 0; step < STEPS; ++step) {
      r.words[step] = within(step, lane) ? from[step * 32] : make_uint2(0, 0);
    }
#pragma unroll
    for (int i = 0; i < LANES_OF_GROUPS; ++i) {
      const int group = i * 32 + lane;
      r.scale_and_bias[i] = 0;
      if (group < GROUPS) {
        const unsigned short s = reinterpret_cast<const unsigned short*>(scales)[row * GROUPS + group];
        const unsigned short z = reinterpret_cast<const unsigned short*>(biases)[row * GROUPS + group];
        r.scale_and_bias[i] = s | (unsigned(z) << 16);
      }
    }
    return r;
  }

  __device__ __forceinline__ float multiply(const Row& r, int lane) const {
    float slots[16];
    Pairs narrow[8];
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      slots[i] = 0.0f;
    }
    if (K < STEP) {  // some lanes take no step, and add nothing
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        narrow[i] = P::twice(0);
      }
    }
#pragma unroll
    for (int step = 0; step < STEPS; ++step) {
      const unsigned sz = __shfl_sync(
          ALL_LANES, r.scale_and_bias[step * (STEP / GROUP) / 32], (step * (STEP / GROUP) + lane / 4) % 32);
      const Pairs scale = P::twice(sz & 0xffffu);
      const Pairs bias = P::twice(sz >> 16);
      if (!within(step, lane)) {
        continue;
      }
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const unsigned word = i < 4 ? r.words[step].x : r.words[step].y;
        const Pairs q = P::from_nibbles(word >> (4 * (i % 4)));
        if (ACCURACY == 0) {
          const Pairs weight = __hfma2(q, scale, bias);
          narrow[i] = step == 0 ? __hfma2(x[step][i], weight, P::twice(0)) : __hfma2(x[step][i], weight, narrow[i]);
        } else {
          const float2 qf = floats(q), sf = floats(scale), zf = floats(bias), xf = floats(x[step][i]);
          const int low = (i / 4) * 8 + i % 4;
          if (ACCURACY == 1) {
            slots[low] = fmaf(xf.x, fmaf(qf.x, sf.x, zf.x), slots[low]);
            slots[low + 4] = fmaf(xf.y, fmaf(qf.y, sf.y, zf.y), slots[low + 4]);
          } else {
            slots[low] = __fadd_rn(slots[low], __fmul_rn(xf.x, __fadd_rn(__fmul_rn(qf.x, sf.x), zf.x)));
            slots[low + 4] = __fadd_rn(slots[low + 4], __fmul_rn(xf.y, __fadd_rn(__fmul_rn(qf.y, sf.y), zf.y)));
          }
        }
      }
    }
    if (ACCURACY == 0) {
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const float2 v = floats(narrow[i]);
        slots[(i / 4) * 8 + i % 4] = v.x;
        slots[(i / 4) * 8 + i % 4 + 4] = v.y;
      }
    }
    float sum = 0.0f;
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      sum = __fadd_rn(sum, slots[i]);
    }
    for (int lanes = 16; lanes > 0; lanes /= 2) {
      sum = __fadd_rn(sum, __shfl_xor_sync(ALL_LANES, sum, lanes));
    }
    return sum;
  }
};
