#!/usr/bin/env bash
# Makes every picture of this folder: runs the pages of the guide at full length and copies what their
# `<!-- picture: FILE -->` lines name. Trainings are bounded by steps, so that the pictures repeat. Takes some minutes.
set -euo pipefail
cd "$(dirname "$0")/../.."
CNF_GUIDE=pictures cargo test --release --workspace --test it guide::commands -- --test-threads 1
