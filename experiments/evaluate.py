"""Evaluates checkpoints of one or several seeds, from the checkpoints alone.

python -m experiments.evaluate --checkpoint=DIR,DIR --episodes=10 --json=FILE --video=FILE.mp4
python -m experiments.evaluate --checkpoint=DIR --demonstrations=UNSEEN.npz --json=FILE
"""

import json
import pathlib
from typing import Any

from absl import flags

from eimitate import errors
from eimitate import evaluation
from eimitate import imitation
from experiments import command_line
from experiments import video

_CHECKPOINT = flags.DEFINE_list('checkpoint', [], 'Work directories, or single steps in them.')
_EPISODES = flags.DEFINE_integer('episodes', 10, 'Greedy episodes of each.', lower_bound=1)
_JSON = flags.DEFINE_string('json', '', 'A file to write the results to.')
_BEST = flags.DEFINE_bool('best', False, 'The best evaluated step instead of the latest.')
_ALSO_IN = flags.DEFINE_string(
  'also_in', '', "Another task of dm_control's suite to evaluate in as well, and to compare."
)
_TASK = flags.DEFINE_string('task', '', 'If given, what the checkpoints must be of.')
_DEMONSTRATIONS = flags.DEFINE_string(
  'demonstrations', '', 'A dataset to imitate, each at one go, for an agent that follows them.'
)
_VIDEO = flags.DEFINE_string(
  'video', '', 'A .mp4 file: the first episode of the first checkpoint beside a demonstration.'
)
_SPEED = flags.DEFINE_float('speed', 1.0, 'Of the video; 1 is that of the task.', lower_bound=0.01)

# What checkpoints must agree in to be evaluated together.
_SHARED = ('task', 'agent', 'action_repeat', 'expert_return')


def main() -> None:
  paths = _CHECKPOINT.value
  errors.check(bool(paths), '--checkpoint', 'none', 'at least one')
  for flag in (_JSON, _VIDEO):
    folder = pathlib.Path(flag.value).absolute().parent
    errors.check(folder.is_dir(), f'--{flag.name}', f'no directory {folder}', 'one that exists')
  if _VIDEO.value:
    video.prepare(_VIDEO.value)
  runs = {path: evaluation.load(path, _TASK.value, _BEST.value) for path in paths}
  result = _imitate(runs) if _DEMONSTRATIONS.value else _evaluate(runs)
  if _JSON.value:
    pathlib.Path(_JSON.value).write_text(json.dumps(result, indent=2) + '\n')
  for path in filter(None, (_JSON.value, _VIDEO.value)):
    print(path)


def _evaluate(runs):
  (path, first), *others = runs.items()
  shared = {field: first.description[field] for field in _SHARED}
  for other, run in others:
    for field, expected in shared.items():
      found = run.description[field]
      same = found == expected
      errors.check(same, f'checkpoint {field} of {other}', found, f'{expected}, as of {path}')

  environments: Any = evaluation.environments_of(first, _EPISODES.value)
  film = [video.film_first(environments)] if _VIDEO.value else []
  elsewhere: Any = None
  if _ALSO_IN.value:
    elsewhere = evaluation.environments_of(first, _EPISODES.value, _ALSO_IN.value)
  results: list[dict[str, Any]] = []
  for path, run in runs.items():
    result: dict[str, Any] = {'checkpoint': str(path), **evaluation.evaluate(run, environments)}
    if film and run is first:
      video.write(_VIDEO.value, film[0], first.description, _SPEED.value)
    if _ALSO_IN.value:
      other = evaluation.evaluate(run, elsewhere)
      difference = other['mean_return'] - result['mean_return']
      result['also_in'] = {
        'task': _ALSO_IN.value,
        'mean_return': other['mean_return'],
        'difference': difference,
        'returns': other['returns'],
      }
    results.append(result)
  returns = [result['returns'] for result in results]
  summary = evaluation.summarise_runs(returns, shared['expert_return'])
  _print_table(shared, results, summary)
  return {**shared, 'episodes': _EPISODES.value, **summary, 'runs': results}


def _imitate(runs):
  errors.check(len(runs) == 1, '--checkpoint', f'{len(runs)} of them', 'one, for --demonstrations')
  errors.check(not _VIDEO.value, '--video', 'given', 'none, for --demonstrations')
  [loaded] = runs.values()
  result = imitation.evaluate(loaded, _DEMONSTRATIONS.value)
  for name, value in result.items():
    if name != 'imitations':  # A line for each of hundreds of demonstrations.
      print(f'{name:20s} {value}')
  return result


def _print_table(shared, results, summary):
  print(', '.join(f'{name} {value}' for name, value in shared.items()))
  for result in results:
    line = (
      f'{result["checkpoint"]}: seed {result["seed"]}, {result["agent_steps"]} agent steps,'
      f' {result["env_steps"]} env steps, return {result["mean_return"]:.1f}'
    )
    if 'also_in' in result:
      other = result['also_in']
      line += f'; in {other["task"]} {other["mean_return"]:.1f} ({other["difference"]:+.1f})'
    print(line)
  names = list(summary['return'])
  print(f'{"":20s}' + ''.join(f'{name:>10s}' for name in names))
  for row, digits in (('return', 1), ('fraction_of_expert', 3)):
    if row in summary:
      print(f'{row:20s}' + ''.join(f'{summary[row][name]:10.{digits}f}' for name in names))


if __name__ == '__main__':
  command_line.run(main)
