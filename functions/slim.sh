#!/bin/sh
# Removes from a virtual environment what no function runs: tests, headers, pip; then compiles the rest.
#
#   sh functions/slim.sh /venv
set -eu

packages=$(echo "$1"/lib/python3.*/site-packages)
"$1/bin/python" -m pip uninstall --quiet --yes pip
find "$packages" -depth -type d \( -name tests -o -name test -o -name include \) -exec rm -rf {} +
find "$packages" -type f \( -name '*.pyx' -o -name '*.pxd' -o -name '*.pyi' -o -name '*.h' -o -name '*.c' -o -name '*.a' \) -delete
"$1/bin/python" -m compileall -q -j 0 "$packages"
