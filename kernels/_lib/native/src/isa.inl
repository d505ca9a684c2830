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
#include "codes.h"
#include "matvec.h"
#include "elementwise.h"

template <Type T>
void fill(Table& t) {
  t.matvec[int(T)][int(Format::affine1)] = matvec<T, Format::affine1>;
  t.matvec[int(T)][int(Format::affine2)] = matvec<T, Format::affine2>;
  t.matvec[int(T)][int(Format::affine3)] = matvec<T, Format::affine3>;
  t.matvec[int(T)][int(Format::affine4)] = matvec<T, Format::affine4>;
  t.matvec[int(T)][int(Format::affine5)] = matvec<T, Format::affine5>;
  t.matvec[int(T)][int(Format::affine6)] = matvec<T, Format::affine6>;
  t.matvec[int(T)][int(Format::affine8)] = matvec<T, Format::affine8>;
  t.matvec[int(T)][int(Format::mxfp4)] = matvec<T, Format::mxfp4>;
  t.matvec[int(T)][int(Format::nvfp4)] = matvec<T, Format::nvfp4>;
  t.matvec[int(T)][int(Format::mxfp8)] = matvec<T, Format::mxfp8>;
  t.swiglu[int(T)] = swiglu<T>;
  t.add[int(T)] = add_values<T>;
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
