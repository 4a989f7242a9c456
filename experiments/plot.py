"""Draws figures of runs, as PNG and SVG.

python -m experiments.plot --sources=tuned=runs/a,paper=runs/b --output=curves.png,curves.svg
python -m experiments.plot --figure=bars --sources='cup/ei=runs/c_?,top/ei=runs/t_?' --output=x.png
python -m experiments.plot --figure=diagnostics --sources=WORKDIR --output=x.png
python -m experiments.plot --figure=latents --sources=WORKDIR --output=x.png
python -m experiments.plot --figure=search_tree --sources=WORKDIR --decision=20 --output=x.png
python -m experiments.plot --figure=film_strip --sources=WORKDIR --output=x.png
python -m experiments.plot --sources=WORKDIR --csv=FILE.csv
"""

import sys

from absl import flags

from eimitate import errors
from eimitate.environments import gl
from experiments import command_line
from experiments.figures import bars
from experiments.figures import curves
from experiments.figures import diagnostics
from experiments.figures import film_strip
from experiments.figures import inside
from experiments.figures import latents
from experiments.figures import search_tree
from experiments.figures import sources as sources_lib
from experiments.figures import style

_FIGURES = ('curves', 'bars', 'diagnostics', 'latents', 'search_tree', 'film_strip')
_FIGURE = flags.DEFINE_string('figure', 'curves', f'What to draw: {", ".join(_FIGURES)}.')
_SOURCES = flags.DEFINE_list(
  'sources', [], 'PATH, LABEL=PATH or PANEL/LABEL=PATH: work directories or CSV files.'
)
_OUTPUT = flags.DEFINE_list('output', [], 'Files to draw to: .png or .svg.')
_CSV = flags.DEFINE_string('csv', '', 'A file for the evaluations of one work directory.')
_DECISION = flags.DEFINE_integer('decision', 0, "search_tree: the demonstration's agent step.")
_SIMULATIONS = flags.DEFINE_integer('simulations', 50, 'search_tree: how many.')


def main() -> None:
  texts, figure, outputs = _SOURCES.value, _FIGURE.value, _OUTPUT.value
  errors.check(bool(texts), '--sources', 'none', 'at least one')
  errors.check(bool(outputs or _CSV.value), '--output, --csv', 'neither', 'one of them')
  errors.check(figure in _FIGURES, '--figure', repr(figure), ' or '.join(_FIGURES))
  style.check_outputs(outputs)
  if _CSV.value:
    errors.check(len(texts) == 1, '--sources', ','.join(texts), 'one, for --csv')
    sources_lib.write_csv(texts[0], _CSV.value)
  if outputs:
    for note in (_draw_runs if figure in ('curves', 'bars') else _draw_one)(figure, texts, outputs):
      print(f'note: {note}', file=sys.stderr)


def _draw_runs(figure, texts, outputs):
  runs, notes = sources_lib.load(sources_lib.parse(texts))
  if figure == 'bars':
    found, unlike = bars.data(runs)
    bars.draw(found, outputs)
    return notes + unlike
  panels, shortened = curves.data(runs)
  curves.draw(panels, outputs)
  return notes + shortened


def _draw_one(figure, texts, outputs):
  errors.check(len(texts) == 1, '--sources', ','.join(texts), f'one, for --figure={figure}')
  if figure == 'diagnostics':
    panels, notes = diagnostics.data(texts[0])
    diagnostics.draw(panels, outputs)
    return notes
  if figure == 'film_strip':
    gl.prepare()
    film_strip.draw(film_strip.data(texts[0]), outputs)
  elif figure == 'latents':
    latents.draw(latents.data(inside.open_checkpoint(texts[0])), outputs)
  else:
    opened = inside.open_checkpoint(texts[0])
    search_tree.draw(search_tree.data(opened, _DECISION.value, _SIMULATIONS.value), outputs)
  return []


if __name__ == '__main__':
  command_line.run(main)
