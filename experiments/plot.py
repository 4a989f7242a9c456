"""Draws learning curves from work directories, or from the CSVs under results/.

python -m experiments.plot --sources=WORKDIR,FILE.csv --output=curve.png
python -m experiments.plot --sources=WORKDIR --csv=FILE.csv
"""

from absl import flags

from eimitate import errors
from experiments import command_line
from experiments import learning_curves

_SOURCES = flags.DEFINE_list('sources', [], 'Work directories, or CSV files written by --csv.')
_OUTPUT = flags.DEFINE_string('output', '', 'An image file to draw.')
_CSV = flags.DEFINE_string('csv', '', 'A file for the evaluations of one work directory.')


def main() -> None:
  errors.check(bool(_SOURCES.value), '--sources', 'none', 'at least one')
  errors.check(bool(_OUTPUT.value or _CSV.value), '--output, --csv', 'neither', 'one of them')
  if _CSV.value:
    errors.check(len(_SOURCES.value) == 1, '--sources', _SOURCES.value, 'one, for --csv')
    learning_curves.write_csv(_SOURCES.value[0], _CSV.value)
  if _OUTPUT.value:
    learning_curves.draw(_SOURCES.value, _OUTPUT.value)


if __name__ == '__main__':
  command_line.run(main)
