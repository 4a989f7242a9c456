#!/usr/bin/env bash
# Lints, checks types and runs the tests; --no-gl leaves out those that draw; other arguments go to
# pytest.
set -euo pipefail
cd "$(dirname "$0")"
source ./environment.sh
select=()
if [ "${1:-}" = --no-gl ]; then
  shift
  echo 'Leaving out the tests that draw frames (--no-gl)' >&2
  select=(-m 'not gl')
elif ! "$python" -c 'from eimitate.environments import gl; gl.prepare()' 2>/dev/null; then
  install='apt-get install -y --no-install-recommends libegl1 libgl1'
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "error: no OpenGL; run: $install, or ./test.sh --no-gl" >&2
    exit 2
  fi
  apt-get update -qq && $install
fi
if [ $# -eq 0 ]; then
  "$python" -m ruff check .
  "$python" -m ruff format --check .
  "$python" -m pyrefly check
fi
exec "$python" -m pytest ${select[@]+"${select[@]}"} "$@"
