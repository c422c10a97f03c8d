#!/bin/sh
# Take out of an environment what no service runs.
#
#   sh slim.sh ENVIRONMENT                 tests, build tools, headers, stubs for type checkers
#   sh slim.sh ENVIRONMENT --compiled      and sources and symbols: what is imported is compiled anyway
#
# Without sources a traceback still names files and lines; what stands there is in the release that
# constraints.txt pins. Not for torch, which reads its own sources.
set -eu
environment=$1
packages=$(echo "$environment"/lib/python3*/site-packages)

find "$packages" -type d \( -name tests -o -name include \) -prune -exec rm -r {} +
find "$packages" -type f \( -name '*.pyi' -o -name '*.a' -o -name '*.pyx' -o -name '*.pxd' -o -name '*_tests*.so' \) -delete
for part in numpy/distutils numpy/f2py sqlalchemy/testing torch/test torch/bin/protoc torch/bin/protoc-*; do
    rm -rf "$packages/"$part
done
find "$packages" -type f \( -path '*/numpy/_core/_simd*' -o -path '*/torch/bin/test_*' \) -delete

if [ "${2:-}" = --compiled ]; then
    find "$packages" -type d -name __pycache__ -prune -exec rm -r {} +
    "$environment/bin/python" -m compileall -q -b "$packages"
    find "$packages" -type f -name '*.py' -delete
    # Symbols of extension modules. Not of the libraries beside them (numpy.libs), which patchelf has
    # laid out in a way that does not survive it.
    if command -v strip >/dev/null; then
        find "$packages" -type f -name '*.so' -not -path '*.libs/*' -exec strip --strip-unneeded {} +
    fi
fi
