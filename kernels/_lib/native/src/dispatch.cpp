#include "dispatch.h"

#include <atomic>
#include <cstdlib>
#include <stdexcept>

namespace zmlx {

namespace {

std::vector<const Table*> runnable() {
  std::vector<const Table*> tables;
#if defined(ZMLX_X86)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c")) {
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl")) {
      tables.push_back(&avx512_table());
    }
    tables.push_back(&avx2_table());
  }
#endif
  tables.push_back(&portable_table());
  return tables;
}

const Table* find(const std::string& name) {
  std::string known;
  for (const Table* t : runnable()) {
    if (name == t->name) {
      return t;
    }
    known += (known.empty() ? "" : ", ") + std::string(t->name);
  }
  throw std::invalid_argument("instruction set '" + name + "' cannot run here; there is: " + known);
}

std::atomic<const Table*>& current() {
  static std::atomic<const Table*> table{std::getenv("ZMLX_ISA") ? find(std::getenv("ZMLX_ISA")) : runnable().front()};
  return table;
}

}  // namespace

const Table& table() {
  return *current().load(std::memory_order_relaxed);
}

std::vector<std::string> available_isas() {
  std::vector<std::string> names;
  for (const Table* t : runnable()) {
    names.emplace_back(t->name);
  }
  return names;
}

void set_isa(const std::string& name) {
  current().store(find(name));
}

}  // namespace zmlx
