"""What the training binaries share: their flags, and training with a curve at the end."""

import time
from typing import Any

from absl import flags

from eimitate import errors
from eimitate import evaluation
from eimitate import parallel
from eimitate import runs
from eimitate import training
from experiments import command_line
from experiments import learning_curves

TASK = flags.DEFINE_string('task', 'cartpole/swingup', 'domain/task of the dm_control suite.')
PRESET = flags.DEFINE_string('preset', 'state', 'What is observed: state.')
_SEED = flags.DEFINE_integer('seed', 0, 'Of everything random.', lower_bound=0)
_WORKDIR = flags.DEFINE_string(
  'workdir', '', 'Where everything is written; a used one resumes. Empty: runs/TASK_NAME_SEED.'
)
_PRESETS = ('state',)


def launch(agent: str, config: Any, name: str) -> None:
  """Trains an agent in the work directory and leaves a learning curve there.

  Args:
    agent: a name in `evaluation.AGENTS`.
    config: the agent's fields and the run's, side by side.
    name: what the default work directory is called by.
  """
  known = PRESET.value in _PRESETS
  errors.check(known, '--preset', repr(PRESET.value), ' or '.join(_PRESETS))
  agent_config = command_line.part(config, evaluation.AGENTS[agent].Config)
  run_config = command_line.part(config, runs.Config)
  workdir = _WORKDIR.value or f'runs/{TASK.value.replace("/", "_")}_{name}_{_SEED.value}'
  parallel.prepare_cpu_devices(run_config.parallel.devices)
  started = time.time()
  run = runs.Run(agent, TASK.value, _SEED.value, agent_config, run_config)
  result = training.train(run, workdir)
  learning_curves.draw([workdir], f'{workdir}/learning_curve.png')
  line = f'{run.task}: return {result["mean_return"]:.1f}'
  if 'fraction_of_expert' in result:
    line += f', {result["fraction_of_expert"]:.3f} of the expert'
  print(f'{line}, {time.time() - started:.0f} s')
  print(f'{workdir}: checkpoints/, metrics.jsonl, timing.jsonl, tensorboard/, learning_curve.png')
