#define ZMLX_ISA 256
#define ZMLX_NS isa_avx2
#include "isa.inl"

namespace zmlx {

const Table& avx2_table() {
  static const Table table = isa_avx2::make_table("avx2");
  return table;
}

}  // namespace zmlx
