#define ZMLX_ISA 0
#define ZMLX_NS isa_portable
#include "isa.inl"

namespace zmlx {

const Table& portable_table() {
  static const Table table = isa_portable::make_table("portable");
  return table;
}

}  // namespace zmlx
