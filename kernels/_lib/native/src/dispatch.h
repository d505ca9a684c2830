// Which instruction set runs.
#pragma once

#include <string>
#include <vector>

#include "kernels.h"

namespace zmlx {

// The table in use: the widest this CPU has, or what ZMLX_ISA or set_isa asked for.
const Table& table();
// The names this CPU can run, widest first.
std::vector<std::string> available_isas();
// Chooses by name; throws std::invalid_argument for one this CPU cannot run.
void set_isa(const std::string& name);

}  // namespace zmlx
