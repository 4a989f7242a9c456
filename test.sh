#!/usr/bin/env bash
# Lints, checks types and runs the tests; arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")"
source ./environment.sh
if [ $# -eq 0 ]; then
  "$python" -m ruff check .
  "$python" -m ruff format --check .
  "$python" -m pyrefly check
fi
exec "$python" -m pytest "$@"
