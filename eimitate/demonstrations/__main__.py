"""`python -m eimitate.demonstrations verify PATH...`."""

import argparse
import sys

from eimitate import errors
from eimitate.demonstrations import dataset as dataset_lib
from eimitate.demonstrations import verification


def main(argv: list[str] | None = None) -> int:
  """Returns 0 only if every episode replays exactly."""
  parser = argparse.ArgumentParser(prog='python -m eimitate.demonstrations')
  commands = parser.add_subparsers(dest='command', required=True)
  verify = commands.add_parser('verify', help='replay the actions and compare')
  verify.add_argument('path', nargs='+')
  arguments = parser.parse_args(argv)
  try:
    worst = max(_verify(path) for path in arguments.path)
  except errors.InputError as error:
    print(f'error: {error}', file=sys.stderr)
    return 2
  print(f'worst state difference: {worst}')
  return int(worst != 0)


def _verify(path):
  dataset = dataset_lib.load(path)
  print(f'{path}: {dataset.metadata.task}, mean return {dataset.mean_return:.1f}')
  differences = verification.verify(dataset)
  for i, difference in enumerate(differences):
    print(f'  episode {i}: ' + ', '.join(f'{k} {v}' for k, v in difference._asdict().items()))
  return max(max(difference) for difference in differences)


if __name__ == '__main__':
  sys.exit(main())
