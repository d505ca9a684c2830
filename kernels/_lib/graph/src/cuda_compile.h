#pragma once

#include <string>
#include <vector>

namespace zmlx {

// Compiles device text by NVRTC and returns machine code.
// Throws std::runtime_error with the compiler's log.
std::vector<char> compile(const std::string& text, const std::vector<std::string>& options);

// The current GPU's architecture as the compiler names it: "sm_90a".
std::string architecture();

// The compiler's version: "13.0".
std::string compiler();

} // namespace zmlx
