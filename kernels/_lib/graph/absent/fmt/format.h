// MLX's device.h includes fmt, which its wheel does not ship. Only messages of functions that nobody calls here use it.
#pragma once

#include <string>
#include <string_view>

namespace fmt {
template <typename... Values>
std::string format(std::string_view text, const Values&...) {
  return std::string(text);
}
} // namespace fmt
