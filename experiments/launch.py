"""What the training binaries share: train, draw the curve, say how it went."""

import time

from eimitate import parallel
from eimitate import runs
from eimitate import training
from experiments import learning_curves


def launch(run: runs.Run, workdir: str) -> None:
  """Trains `run` in `workdir` and leaves a learning curve there."""
  parallel.prepare_cpu_devices(run.config.parallel.devices)
  started = time.time()
  result = training.train(run, workdir)
  learning_curves.draw([workdir], f'{workdir}/learning_curve.png')
  line = f'{run.task}: return {result["mean_return"]:.1f}'
  if 'fraction_of_expert' in result:
    line += f', {result["fraction_of_expert"]:.3f} of the expert'
  print(f'{line}, {time.time() - started:.0f} s')
  print(f'{workdir}: checkpoints/, metrics.jsonl, timing.jsonl, tensorboard/, learning_curve.png')
