"""Draws figures of runs, as PNG and SVG, and tables, as Markdown.

python -m experiments.plot --sources=tuned=runs/a,paper=runs/b --output=curves.png,curves.svg
python -m experiments.plot --sources=runs/a --x=seconds --output=curves.png
python -m experiments.plot --figure=table --sources='ei=runs/c_?,bc=runs/b_?' --output=table.md
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
from experiments.figures import table

_OF_RUNS = ('curves', 'bars', 'table')
_FIGURES = (*_OF_RUNS, 'diagnostics', 'latents', 'search_tree', 'film_strip')
_FIGURE = flags.DEFINE_string('figure', 'curves', f'What to draw: {", ".join(_FIGURES)}.')
_SOURCES = flags.DEFINE_list(
  'sources', [], 'PATH, LABEL=PATH or PANEL/LABEL=PATH: work directories or CSV files.'
)
_OUTPUT = flags.DEFINE_list(
  'output', [], 'Files to draw to: .png or .svg; .md for a table, which is printed without one.'
)
_X = flags.DEFINE_string(
  'x', '', 'curves: agent_steps, env_steps or seconds; by default both kinds of steps.'
)
_CSV = flags.DEFINE_string('csv', '', 'A file for the evaluations of one work directory.')
_DECISION = flags.DEFINE_integer('decision', 0, "search_tree: the demonstration's agent step.")
_SIMULATIONS = flags.DEFINE_integer('simulations', 50, 'search_tree: how many.')


def main() -> None:
  texts, figure, outputs = _SOURCES.value, _FIGURE.value, _OUTPUT.value
  errors.check(bool(texts), '--sources', 'none', 'at least one')
  printed = figure == 'table' and not outputs
  errors.check(bool(outputs or _CSV.value or printed), '--output, --csv', 'neither', 'one of them')
  errors.check(figure in _FIGURES, '--figure', repr(figure), ' or '.join(_FIGURES))
  units = [unit for unit in curves.UNITS if unit]
  errors.check(_X.value in curves.UNITS, '--x', repr(_X.value), ' or '.join(units))
  errors.check(not _X.value or figure == 'curves', '--x', f'--figure={figure}', '--figure=curves')
  style.check_outputs(outputs, table.FORMATS if figure == 'table' else style.FORMATS)
  notes = []
  if _CSV.value:
    errors.check(len(texts) == 1, '--sources', ','.join(texts), 'one, for --csv')
    notes += sources_lib.write_csv(texts[0], _CSV.value)
  if outputs or printed:
    notes += (_draw_runs if figure in _OF_RUNS else _draw_one)(figure, texts, outputs)
  for note in dict.fromkeys(notes):  # Both may have left out the same.
    print(f'note: {note}', file=sys.stderr)


def _draw_runs(figure, texts, outputs):
  sources = sources_lib.parse(texts)
  runs, notes = sources_lib.load(table.by_row(sources) if figure == 'table' else sources)
  if figure == 'table':
    rows, unlike = table.data(runs)
    table.write(rows, outputs)
    return notes + unlike
  if figure == 'bars':
    found, unlike = bars.data(runs)
    bars.draw(found, outputs)
    return notes + unlike
  panels, shortened = curves.data(runs, _X.value)
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
