#include "checks.h"

namespace zmlx {

std::string shape_text(const mx::Shape& shape) {
  std::string text = "(";
  for (std::size_t i = 0; i < shape.size(); i++) {
    text += (i ? ", " : "") + std::to_string(shape[i]);
  }
  return text + (shape.size() == 1 ? ",)" : ")");
}

namespace {

std::string dtype_text(mx::Dtype d) {
  if (d == mx::bfloat16) {
    return "bfloat16";
  }
  if (d == mx::float16) {
    return "float16";
  }
  if (d == mx::float32) {
    return "float32";
  }
  return d == mx::uint32 ? "uint32" : d == mx::uint8 ? "uint8" : "another dtype";
}

}  // namespace

void require_float(const char* name, const mx::array& a) {
  if (a.dtype() != mx::bfloat16 && a.dtype() != mx::float16 && a.dtype() != mx::float32) {
    throw TypeMismatch(std::string(name) + " must be bfloat16, float16 or float32");
  }
}

void require_dtype(const char* name, const mx::array& a, mx::Dtype dtype) {
  if (a.dtype() != dtype) {
    throw TypeMismatch(std::string(name) + " must be " + dtype_text(dtype) + ", not " + dtype_text(a.dtype()));
  }
}

void require_shape(const char* name, const mx::array& a, const mx::Shape& shape) {
  if (a.shape() != shape) {
    throw std::invalid_argument(std::string(name) + " must have shape " + shape_text(shape) + ", not " +
                                shape_text(a.shape()));
  }
}

void require_indices(const mx::array& indices, const mx::Shape& lead) {
  require_dtype("indices", indices, mx::uint32);
  mx::Shape expected = lead;
  if (indices.ndim() < 1) {
    throw std::invalid_argument("indices must have at least one dimension");
  }
  expected.push_back(indices.shape(-1));
  require_shape("indices", indices, expected);
}

void require_experts_named(const mx::array& indices) {
  if (indices.ndim() < 1 || indices.shape(-1) == 0) {
    throw std::invalid_argument("indices must have shape (..., k) with k at least 1, not " +
                                shape_text(indices.shape()));
  }
}

Packing require_packing(int group_size, int bits, const std::string& mode) {
  auto of = [&](Format format, int group, int width) {
    if (group_size != group || bits != width) {
      throw std::invalid_argument(mode + " has " + std::to_string(width) + " bits in groups of " + std::to_string(group) +
                                  ", not " + std::to_string(bits) + " in groups of " + std::to_string(group_size));
    }
    return Packing{format, group};
  };
  if (mode == "mxfp4") {
    return of(Format::mxfp4, 32, 4);
  }
  if (mode == "nvfp4") {
    return of(Format::nvfp4, 16, 4);
  }
  if (mode == "mxfp8") {
    return of(Format::mxfp8, 32, 8);
  }
  if (mode != "affine") {
    throw std::invalid_argument("mode must be affine, mxfp4, mxfp8 or nvfp4, not " + mode);
  }
  if (group_size != 32 && group_size != 64 && group_size != 128) {
    throw std::invalid_argument("group_size must be 32, 64 or 128, not " + std::to_string(group_size));
  }
  for (Format format : {Format::affine1, Format::affine2, Format::affine3, Format::affine4, Format::affine5,
                        Format::affine6, Format::affine8}) {
    if (bits == bits_of(format)) {
      return {format, group_size};
    }
  }
  throw std::invalid_argument("bits must be 1, 2, 3, 4, 5, 6 or 8, not " + std::to_string(bits));
}

int require_quantized(const std::string& name, const Quantized& q, int ndim, int k, Packing p) {
  const auto& [w, scales, biases] = q;
  std::string w_name = name + " w", scales_name = name + " scales", biases_name = name + " biases";
  const bool affine = is_affine(p.format);
  require_dtype(w_name.c_str(), w, mx::uint32);
  if (affine != biases.has_value()) {
    throw std::invalid_argument(biases_name + (affine ? " must be given: the weight is affine"
                                                      : " must be None: the weight is not affine"));
  }
  if (affine) {
    require_float(scales_name.c_str(), scales);
    require_float(biases_name.c_str(), *biases);
  } else {
    require_dtype(scales_name.c_str(), scales, mx::uint8);
  }
  if (int(w.ndim()) != ndim) {
    throw std::invalid_argument(w_name + " must have " + std::to_string(ndim) + " dimensions, not shape " +
                                shape_text(w.shape()));
  }
  if (k == 0 || k % p.group != 0) {
    throw std::invalid_argument(name + ": the input's last dimension " + std::to_string(k) +
                                " is no positive multiple of group_size " + std::to_string(p.group));
  }
  mx::Shape shape = w.shape();
  shape.back() = int(int64_t(k) * bits_of(p.format) / 32);
  require_shape(w_name.c_str(), w, shape);
  shape.back() = k / p.group;
  require_shape(scales_name.c_str(), scales, shape);
  if (affine) {
    require_shape(biases_name.c_str(), *biases, shape);
  }
  return w.shape(-2);
}

mx::Stream cpu_stream(mx::StreamOrDevice s) {
  mx::Stream stream =
      std::holds_alternative<std::monostate>(s) ? mx::default_stream(mx::Device::cpu) : mx::to_stream(s);
  if (stream.device != mx::Device::cpu) {
    throw std::invalid_argument("stream must be on the CPU: these operations have no GPU kernel");
  }
  return stream;
}

void require_in_range(const char* op, const uint32_t* indices, int64_t n, int64_t experts) {
  for (int64_t i = 0; i < n; i++) {
    if (indices[i] >= experts) {
      throw std::out_of_range(std::string("[") + op + "] indices: " + std::to_string(indices[i]) +
                              " is not below the number of experts, " + std::to_string(experts));
    }
  }
}

}  // namespace zmlx
