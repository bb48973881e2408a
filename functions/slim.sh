#!/bin/sh
# Makes a virtual environment small: removes what no function runs, and the symbols of libraries.
#
#   sh functions/slim.sh /venv
set -eu

packages=$(echo "$1"/lib/python3.*/site-packages)
"$1/bin/python" -m pip uninstall --quiet --yes pip
find "$packages" -depth -type d \( -name tests -o -name test -o -name include -o -name __pycache__ \) -exec rm -rf {} +
find "$packages" -type f \( -name '*.pyx' -o -name '*.pxd' -o -name '*.pyi' -o -name '*.h' -o -name '*.c' \) -delete
# Arrow's clients of Flight and S3, and the fonts of PDF: Sluice uses neither.
rm -rf "$packages"/fontTools "$packages"/pyarrow/_flight* "$packages"/pyarrow/_s3fs* \
    "$packages"/pyarrow/libarrow_flight* "$packages"/pyarrow/libarrow_python_flight* "$packages"/pyarrow/libarrow_s3*
# The libraries in *.libs were patched by their packagers, and break if they are stripped.
find "$packages" -name '*.so*' -type f ! -path '*.libs/*' -exec strip --strip-unneeded {} +
