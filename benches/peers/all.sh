#!/usr/bin/env bash
# Repeats the comparison with other libraries: installs them and this package, runs every work, makes tables and charts.
#
#   bash benches/peers/all.sh [ENV] [--out FOLDER] [--only A,G] [--short] [--rounds N] [--draw]
#
# ENV is a Python environment, made where it is missing (~/cnflow-peers if left out). Python 3.11 or newer, Rust.
# The first call compiles the package and downloads some gigabytes: PyTorch's usual wheel is large.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
env=$HOME/cnflow-peers
if [[ $# -gt 0 && $1 != -* ]]; then
    env=$1
    shift
fi
[[ -x $env/bin/python ]] || python3 -m venv "$env"
env=$(cd "$env" && pwd)
pip() { "$env/bin/python" -m pip --disable-pip-version-check --no-input -q "$@"; }

# One by one, so that a peer without a wheel for this machine stops nobody else. What is there costs a second.
while read -r package; do
    if ! "$env/bin/python" -c 'import sys, importlib.metadata as m
name, version = sys.argv[1].split("==")
sys.exit(m.version(name) != version)' "$package" 2>/dev/null; then
        echo "installing $package" >&2
        pip install "$package" || echo "NOT INSTALLED: $package. Its lines are left out." >&2
    fi
done < <(grep -v '^#' "$here/requirements.txt")
# The package is installed anew after a commit that changes its sources.
sources=$(git -C "$here" rev-parse HEAD:src HEAD:python HEAD:kernels HEAD:solvers 2>/dev/null || true)
if [[ $(cat "$env/cnflow.sources" 2>/dev/null) != "$sources" || -z $sources ]]; then
    echo "installing cnflow: some minutes" >&2
    pip install "$here/../../python"
    echo "$sources" > "$env/cnflow.sources"
fi
PYTHONPATH=$here exec "$env/bin/python" -m works "$@"
