"""Evaluates a checkpoint, from the checkpoint alone.

python -m experiments.evaluate --checkpoint=DIR --episodes=10 --json=FILE
python -m experiments.evaluate --checkpoint=DIR --demonstrations=UNSEEN.npz --json=FILE
"""

import json
import pathlib

from absl import flags

from eimitate import evaluation
from eimitate import imitation
from experiments import command_line

_CHECKPOINT = flags.DEFINE_string('checkpoint', '', 'A work directory, or one step in it.')
_EPISODES = flags.DEFINE_integer('episodes', 10, 'Greedy episodes.', lower_bound=1)
_JSON = flags.DEFINE_string('json', '', 'A file to write the results to.')
_BEST = flags.DEFINE_bool('best', False, 'The best evaluated step instead of the latest.')
_ALSO_IN = flags.DEFINE_string(
  'also_in', '', "Another task of dm_control's suite to evaluate in as well, and to compare."
)
_TASK = flags.DEFINE_string('task', '', 'If given, what the checkpoint must be of.')
_DEMONSTRATIONS = flags.DEFINE_string(
  'demonstrations', '', 'A dataset to imitate, each at one go, for an agent that follows them.'
)


def main() -> None:
  loaded = evaluation.load(_CHECKPOINT.value, _TASK.value, _BEST.value)
  if _DEMONSTRATIONS.value:
    result = imitation.evaluate(loaded, _DEMONSTRATIONS.value)
  else:
    result = evaluation.evaluate(loaded, _EPISODES.value)
  if _ALSO_IN.value:
    other = evaluation.evaluate(loaded, _EPISODES.value, _ALSO_IN.value)
    result |= {f'also_in/{name}': other[name] for name in ('task', 'mean_return', 'returns')}
    result['also_in/difference'] = other['mean_return'] - result['mean_return']
  for name, value in result.items():
    if name != 'imitations':  # A line for each of hundreds of demonstrations.
      print(f'{name:20s} {value}')
  if _JSON.value:
    pathlib.Path(_JSON.value).write_text(json.dumps(result, indent=2) + '\n')


if __name__ == '__main__':
  command_line.run(main)
