"""Imports, exports, shows and verifies demonstrations.

python -m eimitate.demonstrations import FORMAT PATH --task=domain/task --output=FILE.npz
python -m eimitate.demonstrations export minari FILE.npz --output=DIRECTORY
python -m eimitate.demonstrations info FILE.npz...
python -m eimitate.demonstrations verify FILE.npz...
python -m eimitate.demonstrations render FILE.npz --output=DIRECTORY
"""

import argparse
import pathlib
import sys

from eimitate import errors
from eimitate.demonstrations import dataset as dataset_lib
from eimitate.demonstrations import import_command
from eimitate.demonstrations import verification
from eimitate.demonstrations.formats import minari
from eimitate.environments import gl


def main(argv: list[str] | None = None) -> int:
  """Returns 0, or 2 on bad input, or 1 if an episode does not replay exactly."""
  parser = argparse.ArgumentParser(prog='python -m eimitate.demonstrations', allow_abbrev=False)
  commands = parser.add_subparsers(dest='command', required=True)
  importer = commands.add_parser(
    'import', help='a dataset from a file of another library', allow_abbrev=False
  )
  import_command.add_arguments(importer)
  export = commands.add_parser('export', help='a dataset for another library')
  export.add_argument('format', choices=['minari'])
  export.add_argument('path')
  export.add_argument('--output', required=True, help='the directory to make')
  info = commands.add_parser('info', help='what a dataset holds')
  info.add_argument('path', nargs='+')
  verify = commands.add_parser('verify', help='replay the actions and compare')
  verify.add_argument('path', nargs='+')
  render = commands.add_parser('render', help='draw the episodes anew, a GIF each')
  render.add_argument('path')
  render.add_argument('--output', required=True, help='the directory to write to')
  render.add_argument('--size', type=int, default=240, help='height and width in pixels')
  render.add_argument('--episodes', type=int, default=0, help='the first so many; 0 for all')
  arguments = parser.parse_args(argv)
  run = {
    'import': import_command.run,
    'export': _export,
    'info': _info,
    'verify': _verify,
    'render': _render,
  }
  try:
    return run[arguments.command](arguments) or 0
  except (errors.InputError, OSError) as error:
    print(f'error: {error}', file=sys.stderr)
    return 2


def _export(arguments):
  dataset = dataset_lib.load(arguments.path)
  words = minari.write(arguments.output, dataset)
  steps = sum(len(episode.trajectory.rewards) for episode in dataset.episodes)
  print(f'{arguments.output}: {len(dataset.episodes)} episodes, {steps} steps for Minari')
  print(f'note: {words}', file=sys.stderr)


def _info(arguments):
  for path in arguments.path:
    dataset = dataset_lib.load(path)
    trajectories = [episode.trajectory for episode in dataset.episodes]
    returns = [float(trajectory.rewards.sum()) for trajectory in trajectories]
    steps = [len(trajectory.rewards) for trajectory in trajectories]
    terminated = sum(bool(trajectory.discounts[-1] == 0) for trajectory in trajectories)
    lines = {
      'task': ascii(dataset.metadata.task),
      'episodes': f'{len(steps)} of {min(steps)} to {max(steps)} steps, {terminated} terminated',
      'returns': f'mean {dataset.mean_return:.1f}, {min(returns):.1f} to {max(returns):.1f}',
      'observations': trajectories[0].observations.shape[1],
      'actions': trajectories[0].actions.shape[1] if dataset.has_actions else 'not known',
      'states': dataset.episodes[0].states.shape[1] if dataset.has_states else 'not known',
      'action repeat': f'{dataset.metadata.action_repeat}',
      'control timestep': f'{dataset.metadata.control_timestep} s',
      'provenance': ascii(dataset.metadata.provenance),
      'versions': ascii(dict(dataset.metadata.versions)),
      'seed': dataset.metadata.seed,
      'checksum': dataset.checksum,
    }
    print('\n'.join([f'{path}:', *(f'  {name}: {value}' for name, value in lines.items())]))


def _verify(arguments):
  worst = verification.worst([_verify_file(path) for path in arguments.path])
  for name, value in worst._asdict().items():
    if value and name != 'state':
      print(f'worst {name} difference: {value}')
  print(f'worst state difference: {worst.state}')
  return int(any(worst))


def _verify_file(path):
  dataset = dataset_lib.load(path)
  print(f'{path}: {dataset.metadata.task}, mean return {dataset.mean_return:.1f}')
  differences = verification.verify(dataset)
  for i, difference in enumerate(differences):
    print(f'  episode {i}: ' + ', '.join(f'{k} {v}' for k, v in difference._asdict().items()))
  worst = verification.worst(differences)
  if any(worst):
    for words in verification.other_versions(dataset.metadata):
      print(f'  {words}')
  return worst


def _render(arguments):
  # Before anything imports MuJoCo, which decides on import whether it can draw.
  gl.prepare()
  from eimitate.demonstrations import rendering

  size = arguments.size
  errors.check(size > 0, '--size', size, 'more than 0')
  dataset = dataset_lib.load(arguments.path)
  dataset = dataset.take(arguments.episodes, '--episodes') if arguments.episodes else dataset
  output = pathlib.Path(arguments.output)
  for i, shown in enumerate(rendering.frames(dataset, size, size)):
    output.mkdir(parents=True, exist_ok=True)
    rendering.write_gif(output / f'episode_{i}.gif', shown, dataset.metadata.control_timestep)
  print(f'{output}: {len(dataset.episodes)} episodes of {dataset.metadata.task}')


if __name__ == '__main__':
  sys.exit(main())
