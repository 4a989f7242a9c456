"""What the training binaries share: their flags, and training with a curve at the end."""

import dataclasses
import sys
import time
from typing import Any

from absl import flags

from eimitate import errors
from eimitate import evaluation
from eimitate import parallel
from eimitate import processes
from eimitate import runs
from eimitate import training
from experiments import command_line
from experiments import stopping
from experiments.figures import curves

TASK = flags.DEFINE_string(
  'task',
  'cartpole/swingup',
  "domain/task of dm_control's suite, jaco/stack, playground/NAME, brax/NAME, or a name for your"
  ' own --config.environment.',
)
PRESET = flags.DEFINE_string('preset', 'state', 'What is observed: state or image.')
_SEED = flags.DEFINE_integer(
  'seed', 0, 'Of everything random.', lower_bound=0, upper_bound=runs.LARGEST_SEED
)
_SEEDS = flags.DEFINE_list('seeds', [], 'Seeds to train in turn, in WORKDIR/seed_N each.')
_WORKDIR = flags.DEFINE_string(
  'workdir', '', 'Where everything is written; a used one resumes. Empty: runs/TASK_NAME_SEED.'
)
_INIT_FROM = flags.DEFINE_string(
  'init_from', '', 'A work directory, or one step in it, whose parameters to start from.'
)


def launch(agent: str, config: Any, name: str, presets: tuple[str, ...] = ('state',)) -> None:
  """Trains an agent in the work directory and leaves a learning curve there.

  Args:
    agent: a name in `evaluation.AGENTS`.
    config: the agent's fields and the run's, side by side.
    name: what the default work directory is called by.
    presets: that the agent has.
  """
  known = PRESET.value in presets
  errors.check(known, '--preset', repr(PRESET.value), ' or '.join(presets))
  agent_config = command_line.part(config, evaluation.AGENTS[agent].Config)
  run_config = command_line.part(config, runs.Config)
  if _INIT_FROM.value:
    run_config = dataclasses.replace(run_config, init_from=_INIT_FROM.value)
  spread = run_config.parallel
  processes.join(spread.coordinator, spread.num_processes, spread.process_id, spread.wait)
  parallel.prepare_cpu_devices(spread.devices // spread.num_processes)
  base = _WORKDIR.value or f'runs/{TASK.value.replace("/", "_")}_{name}'
  seeds = _parse_seeds(_SEEDS.value)
  if seeds:
    errors.check(not _SEED.present, '--seed', _SEED.value, 'none with --seeds')
    workdirs = {seed: f'{base}/seed_{seed}' for seed in seeds}
  else:
    workdirs = {_SEED.value: _WORKDIR.value or f'{base}_{_SEED.value}'}
  stopped, done = stopping.stop_on_signal(), []
  should_stop = lambda: processes.any_process(stopped())
  for seed, workdir in workdirs.items():
    if should_stop():
      break
    run = runs.Run(agent, TASK.value, seed, agent_config, run_config)
    _train(run, workdir, should_stop)
    done.append(workdir)
  if seeds and processes.leads():
    _draw(done, f'{base}/learning_curves.png')
    print(f'{base}/learning_curves.png')
  if should_stop():
    print('Stopped and saved: the same command goes on from here.')


def _train(run, workdir, should_stop):
  started = time.time()
  result = training.train(run, workdir, should_stop)
  if not processes.leads():
    return
  _draw([workdir], f'{workdir}/learning_curve.png')
  line = f'{run.task}, seed {run.seed}: return {result["mean_return"]:.1f}'
  if 'fraction_of_expert' in result:
    line += f', {result["fraction_of_expert"]:.3f} of the expert'
  print(f'{line}, {time.time() - started:.0f} s')
  print(f'{workdir}: checkpoints/, metrics.jsonl, timing.jsonl, tensorboard/, learning_curve.png')


def _draw(workdirs, output):
  for note in curves.draw_workdirs(workdirs, output):
    print(f'note: {note}', file=sys.stderr)


def _parse_seeds(texts: list[str]) -> list[int]:
  good = all(text.isdecimal() for text in texts) and len(set(texts)) == len(texts)
  good = good and all(int(text) <= runs.LARGEST_SEED for text in texts)
  expected = f'different numbers up to {runs.LARGEST_SEED}, like 0,1,2'
  errors.check(good, '--seeds', ','.join(texts), expected)
  return [int(text) for text in texts]
