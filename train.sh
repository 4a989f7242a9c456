#!/usr/bin/env bash
# Trains EfficientImitate; see README.md. PYTHON chooses the interpreter of a new environment.
set -euo pipefail
cd "$(dirname "$0")"
source ./environment.sh
exec "$python" -m experiments.train_efficient_imitate "$@"
