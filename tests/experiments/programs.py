"""Runs binaries in processes of their own, which are forked after the libraries were imported."""

import multiprocessing
import os
import pathlib
import runpy
import subprocess
import sys
import tempfile

_FORKS = multiprocessing.get_context('forkserver')
# None of these starts a thread or touches a device; MuJoCo decides on import whether it can draw.
_FORKS.set_forkserver_preload(
  ['jax', 'flax.linen', 'optax', 'orbax.checkpoint', 'matplotlib.pyplot']
  + ['ml_collections', 'tensorboardX', 'eimitate.training', 'eimitate.imitation']
)


def run(binary: str, *arguments: object) -> subprocess.CompletedProcess[str]:
  """What `python -m experiments.BINARY ARGUMENTS` would say, at a fraction of the time."""
  command = [f'experiments.{binary}', *map(str, arguments)]
  with tempfile.TemporaryDirectory() as folder:
    paths = pathlib.Path(folder, 'stdout'), pathlib.Path(folder, 'stderr')
    process = _FORKS.Process(target=_main, args=(command, *map(str, paths)))
    process.start()
    process.join()
    output, errors = (path.read_text() for path in paths)
  return subprocess.CompletedProcess(command, process.exitcode or 0, output, errors)


def _main(command, *paths):
  for descriptor, path in zip((1, 2), paths):
    os.dup2(os.open(path, os.O_CREAT | os.O_WRONLY), descriptor)
  sys.argv = command
  runpy.run_module(command[0], run_name='__main__', alter_sys=True)
