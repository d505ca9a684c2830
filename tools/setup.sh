#!/usr/bin/env bash
# Makes the virtual environment named by the first argument and installs zmlx-bench with the MLX build this machine can run.
set -euo pipefail
venv=${1:?usage: tools/setup.sh VENV_DIR}
cd "$(dirname "$0")/.."

python=${PYTHON_FOR_VENV:-python3}
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
  echo "zmlx needs Python 3.11 or newer; set PYTHON_FOR_VENV to one" >&2
  exit 4
fi
if [ "$(uname -s)" = Darwin ] && [ "$("$python" -c 'import platform; print(platform.machine())')" != arm64 ]; then
  echo "$python is built for Intel: MLX needs an arm64 Python, also on a Mac with Apple silicon; set PYTHON_FOR_VENV to one" >&2
  exit 4
fi
"$python" -m venv "$venv"
pip=("$venv/bin/python" -m pip install --quiet --disable-pip-version-check)
newest() { # the newest version of a distribution that was tested
  "$python" -c 'import sys, tomllib; print(tomllib.load(open("zmlx_bench/machine/tested.toml", "rb"))[sys.argv[1]]["newest"])' "$1"
}
mlx=$(newest mlx)
"${pip[@]}" -e '.[dev]' "mlx==$mlx" "mlx-lm==$(newest mlx-lm)"

if [ "$(uname -s)" = Linux ] && command -v nvidia-smi >/dev/null && nvidia-smi -L >/dev/null 2>&1; then
  # The CPU and CUDA builds of MLX install the same files: the CPU one must go before the other comes.
  "$venv/bin/python" -m pip uninstall --quiet --yes mlx-cpu
  "${pip[@]}" --force-reinstall --no-deps "mlx-cuda-13==$mlx"
  "${pip[@]}" "mlx[cuda13]==$mlx"
fi

# The native CPU kernels are an extra: without a compiler everything else works, and `zmlx doctor` says what is missing.
# They repeat MLX's roundings on x86-64 and refuse any other processor, so a Mac does not wait for them.
case $(uname -m) in x86_64 | amd64) native=yes ;; *) native=no ;; esac
if [ $native = yes ] && { command -v c++ >/dev/null || command -v g++ >/dev/null || command -v clang++ >/dev/null; }; then
  "${pip[@]}" -e '.[native]'
  "$venv/bin/python" kernels/_lib/native/build.py || echo "the native kernels were not built; see above" >&2
  # The decode graph is for MLX's CUDA build; MLX brings all of CUDA's headers but these.
  if "$venv/bin/python" -c 'import sys, mlx.core as mx; sys.exit(not mx.cuda.is_available())' 2>/dev/null; then
    "${pip[@]}" 'nvidia-cuda-crt>=13,<14'
    "$venv/bin/python" kernels/_lib/graph/build.py || echo "the decode graph was not built; see above" >&2
  fi
fi

touch "$venv/.ready"
