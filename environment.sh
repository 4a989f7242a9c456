# Sourced by train.sh and test.sh: creates .venv, and anew when requirements.txt, setup.py or the
# interpreter's version change. Sets `python` to its interpreter. Needs python3 (or $PYTHON), 3.11 or
# 3.12, with venv.
base=${PYTHON:-python3}
python=$PWD/.venv/bin/python
if ! "$base" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))'; then
  echo "error: $("$base" --version), expected Python 3.11 or 3.12: PYTHON=python3.12 $0" >&2
  exit 2
fi
wanted="$("$base" --version) $(cat requirements.txt setup.py | sha256sum)"
if [ "$(cat .venv/made-for 2>/dev/null)" != "$wanted" ]; then
  echo "Installing into .venv (a few minutes, once)" >&2
  "$base" -m venv --clear .venv
  "$python" -m pip install --quiet --disable-pip-version-check --requirement requirements.txt
  # playground asks for warp and a notebook, which its environments do not need here.
  "$python" -m pip install --quiet --disable-pip-version-check --no-deps playground==0.2.0 --editable .
  echo "$wanted" >.venv/made-for
fi
