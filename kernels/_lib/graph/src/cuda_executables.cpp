#include "cuda_executables.h"

#include <algorithm>

namespace zmlx {

Executable::~Executable() {
  if (handle != nullptr) {
    cuGraphExecDestroy(handle);
  }
}

Executable* Executables::find(const Kind& kind) {
  Executable* found = nullptr;
  for (const auto& each : sets_) {
    const bool fits = each != nullptr && each->kind == kind && each->used + 2 <= uses_;
    if (fits && (found == nullptr || each->used < found->used)) {
      found = each.get();
    }
  }
  return found;
}

void Executables::clear() {
  for (auto& each : sets_) {
    each.reset();
  }
}

Executable& Executables::make() {
  const auto used = [](const auto& each) { return each == nullptr ? 0 : each->used; };
  auto& oldest = *std::min_element(
      sets_.begin(), sets_.end(), [&](const auto& a, const auto& b) { return used(a) < used(b); });
  oldest = std::make_unique<Executable>();
  return *oldest;
}

} // namespace zmlx
