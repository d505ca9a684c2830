// Top-k over experts held by the lanes of one simdgroup: lane l holds experts l * READS .. l * READS + READS - 1.

// Unsigned numbers that order as the floats do: -0 with +0, NaN last. 0 is below every one of them.
METAL_FUNC uint sortable(float x) {
  if (x != x) {
    return 0xffffffffu;
  }
  const uint bits = bits_of(add_rn(x, 0.0f));
  return (bits & 0x80000000u) != 0 ? ~bits : (bits | 0x80000000u);
}

METAL_FUNC float sorted_float(uint key) {
  return float_of((key & 0x80000000u) != 0 ? (key & 0x7fffffffu) : ~key);
}

struct Pick {
  uint expert;
  uint key;
};

// Takes the expert with the largest key away and returns it to every lane. Of equal keys the expert with the
// higher index goes first, or the one with the lower.
template <int READS, bool HIGHER_FIRST>
METAL_FUNC Pick pick(thread uint* keys, uint lane) {
  uint key = 0;
  for (int i = 0; i < READS; ++i) {
    key = keys[i] > key ? keys[i] : key;
  }
  key = simd_max(key);
  uint rank = 0;
  for (int i = 0; i < READS; ++i) {
    const uint expert = lane * READS + i;
    const uint own = HIGHER_FIRST ? expert + 1 : 32 * READS - expert;
    if (keys[i] == key && own > rank) {
      rank = own;
    }
  }
  rank = simd_max(rank);
  Pick picked;
  picked.expert = HIGHER_FIRST ? rank - 1 : 32 * READS - rank;
  picked.key = key;
  for (int i = 0; i < READS; ++i) {
    if (lane * READS + i == picked.expert) {
      keys[i] = 0;
    }
  }
  return picked;
}
