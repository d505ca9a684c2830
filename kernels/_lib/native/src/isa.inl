// The kernels of one instruction set, in a namespace of its own. The including file sets ZMLX_ISA (0, 256, 512) and
// ZMLX_NS, and is compiled with that instruction set's flags and without contraction of a*b+c.

#include "kernels.h"

#if ZMLX_ISA != 0
#include <immintrin.h>
#endif

namespace zmlx {
namespace ZMLX_NS {
namespace {

#include "vec.h"
#include "matvec.h"
#include "elementwise.h"

template <Type T>
void fill(Table& t) {
  t.matvec[int(T)][0] = matvec<T, 4>;
  t.matvec[int(T)][1] = matvec<T, 8>;
  t.swiglu[int(T)] = swiglu<T>;
  t.combine[int(T)] = combine<T>;
  t.load[int(T)] = load_values<T>;
  t.store[int(T)] = store_values<T>;
  t.round[int(T)] = round_values<T>;
}

Table make_table(const char* name) {
  Table t{};
  t.name = name;
  fill<Type::bf16>(t);
  fill<Type::f16>(t);
  fill<Type::f32>(t);
  t.exp = exp_values;
  return t;
}

}  // namespace
}  // namespace ZMLX_NS
}  // namespace zmlx
