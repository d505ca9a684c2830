#define ZMLX_ISA 512
#define ZMLX_NS isa_avx512
#include "isa.inl"

namespace zmlx {

const Table& avx512_table() {
  static const Table table = isa_avx512::make_table("avx512");
  return table;
}

}  // namespace zmlx
