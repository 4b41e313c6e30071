#!/usr/bin/env bash
# All tests of the package, with every library that it works with: several gigabytes. Spark needs Java 17.
#
# The environment is kept in the folder that the first argument names, else made anew and removed. Further arguments are
# those of pytest, such as -k spark.
set -euo pipefail
cd "$(dirname "$0")/../.."

if (($#)); then
    env=$1
    shift
else
    env=$(mktemp -d)
    trap 'rm -rf "$env"' EXIT
fi
export CARGO_TARGET_DIR=$PWD/target
python3 -m venv "$env"
# Wheels without CUDA are enough, where pip is given a place for them: PIP_EXTRA_INDEX_URL.
"$env/bin/pip" install -q "./python[all-tests]"
"$env/bin/pytest" -q -rs python "$@"
