"""Evaluates checkpoints of one or several seeds, from the checkpoints alone.

python -m experiments.evaluate --checkpoint=DIR,DIR --episodes=10 --json=FILE --video=FILE.mp4
python -m experiments.evaluate --checkpoint=DIR --demonstrations=UNSEEN.npz --episodes=50
"""

from collections.abc import Mapping, Sequence
import json
import pathlib
import sys
from typing import Any

from absl import flags

from eimitate import errors
from eimitate import evaluation
from eimitate import imitation
from eimitate import logs
from experiments import command_line
from experiments import video

_CHECKPOINT = flags.DEFINE_list('checkpoint', [], 'Work directories, or single steps in them.')
_EPISODES = flags.DEFINE_integer(
  'episodes',
  None,
  'Greedy episodes of each, if not given 10; or the first unseen demonstrations, if not given all.',
  lower_bound=1,
)
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
# Of the table, with the digits that are printed.
_ROWS = {'return': 1, 'fraction_of_expert': 3}


def main() -> None:
  paths = _CHECKPOINT.value
  errors.check(bool(paths), '--checkpoint', 'none', 'at least one')
  folder = pathlib.Path(_JSON.value).absolute().parent
  errors.check(folder.is_dir(), '--json', f'no directory {folder}', 'one that exists')
  alone = not (_DEMONSTRATIONS.value and _ALSO_IN.value)
  errors.check(alone, '--also_in', _ALSO_IN.value, 'none with --demonstrations')
  if _VIDEO.value:
    video.prepare(_VIDEO.value)
  runs = {path: evaluation.load(path, _TASK.value, _BEST.value) for path in paths}
  if _DEMONSTRATIONS.value:
    result = _imitate(runs)
  else:
    result = _evaluate({path: evaluation.performing(run) for path, run in runs.items()})
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

  count = _EPISODES.value or 10
  environments: Any = evaluation.environments_of(first, count)
  film = [video.film_first(environments)] if _VIDEO.value else []
  elsewhere: Any = None
  if _ALSO_IN.value:
    elsewhere = evaluation.environments_of(first, count, _ALSO_IN.value)
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
  table = evaluation.table([result['returns'] for result in results], shared['expert_return'])
  _print_table(shared, results, table)
  say_lengths(results)
  return {**shared, **summarise(results, table), 'runs': results}


def summarise(results: Sequence[Mapping[str, Any]], table: Mapping[str, Any]) -> dict[str, Any]:
  """What all runs' episodes amount to together; steps are those of the shortest run.

  The same fields whatever is known of an expert: None stands for what is not.
  """
  return {
    'episodes': sum(len(result['returns']) for result in results),
    'mean_return': table['return']['mean'],
    'fraction_of_expert': table.get('fraction_of_expert', {}).get('mean'),
    'returns': [value for result in results for value in result['returns']],
    'failed_episodes': sum(result['failed_episodes'] for result in results),
    **{name: min(result[name] for result in results) for name in logs.COUNTERS},
    'table': {name: table.get(name) for name in _ROWS},
  }


def say_lengths(results: Sequence[Mapping[str, Any]]) -> None:
  """Says so on stderr where runs of several lengths are taken together."""
  lengths = [result['agent_steps'] for result in results]
  if len(set(lengths)) > 1:
    numbers = ', '.join(map(str, lengths))
    print(f'note: checkpoints after {numbers} agent steps are taken together', file=sys.stderr)


def _imitate(runs):
  errors.check(len(runs) == 1, '--checkpoint', f'{len(runs)} of them', 'one, for --demonstrations')
  [loaded] = runs.values()
  if _VIDEO.value:
    film = imitation.film_first(loaded, _DEMONSTRATIONS.value, video.Filmed)
    video.write_imitation(_VIDEO.value, *film, loaded.description, _SPEED.value)
  result = imitation.evaluate(loaded, _DEMONSTRATIONS.value, _EPISODES.value or 0)
  for name, value in result.items():
    if name != 'imitations':  # A line for each of hundreds of demonstrations.
      print(f'{name:20s} {value}')
  return result


def _print_table(shared, results, table):
  print(', '.join(f'{name} {value}' for name, value in shared.items()))
  for result in results:
    line = (
      f'{result["checkpoint"]}: seed {result["seed"]}, {result["agent_steps"]} agent steps,'
      f' {result["env_steps"]} env steps, return {result["mean_return"]:.1f}'
    )
    if result['failed_episodes']:
      line += f', {result["failed_episodes"]} episodes failed'
    if 'also_in' in result:
      other = result['also_in']
      line += f'; in {other["task"]} {other["mean_return"]:.1f} ({other["difference"]:+.1f})'
    print(line)
  names = list(table['return'])
  print(f'{"":20s}' + ''.join(f'{name:>10s}' for name in names))
  for row, digits in _ROWS.items():
    if row in table:
      print(f'{row:20s}' + ''.join(f'{table[row][name]:10.{digits}f}' for name in names))


if __name__ == '__main__':
  command_line.run(main)
