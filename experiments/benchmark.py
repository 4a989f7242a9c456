"""Measures how fast a part of the library is, beside how fast the machine could be.

python -m experiments.benchmark --what=update --compare=search.kind=mctx --json=FILE
"""

from collections.abc import Mapping
import json
import os
import pathlib
import platform
import resource
import sys
import time
from typing import Any

from absl import flags
import jax
import numpy as np

from eimitate import configuration
from eimitate import errors
from eimitate import evaluation
from eimitate import parallel
from experiments import command_line
from experiments import floors
from experiments import workloads
from experiments.configs import d4pg
from experiments.configs import efficient_imitate
from experiments.configs import metamimic

_OR_PRESETS = ' or '.join(workloads.PRESETS)
_KINDS = ('update', 'search', 'act', 'replay', 'environment', 'render')
_WHAT = flags.DEFINE_string('what', 'update', f'What to measure: {", ".join(_KINDS)}.')
_PRESET = flags.DEFINE_string(
  'preset', 'state', "EfficientImitate's: state or image. Others': d4pg or metamimic, from state."
)
_VARIANT = flags.DEFINE_string(
  'variant', 'paper', "EfficientImitate's settings: tuned, paper or released."
)
_COMPARE = flags.DEFINE_string(
  'compare',
  '',
  "FIELD=VALUE of the agent's, or of `parallel`: times the settings with that changed, too, in "
  'turns.',
)
_REPEATS = flags.DEFINE_integer('repeats', 5, 'Timed calls; their median counts.', lower_bound=1)
_ENVIRONMENTS = flags.DEFINE_integer(
  'environments', 2, 'Acted for at once, in --what=act.', lower_bound=1
)
_UPDATES = flags.DEFINE_integer('updates', 4, 'In one call, in --what=update.', lower_bound=1)
_TASK = flags.DEFINE_string('task', 'walker/walk', 'Whose sizes, simulator or frames.')
_PROFILE = flags.DEFINE_string('profile', '', 'A folder for a jax.profiler trace of one call.')
_JSON = flags.DEFINE_string('json', '', 'A file to write the results to.')
_CONFIG = command_line.define_config(
  efficient_imitate.make_config(), d4pg.make_config(), metamimic.make_config()
)


def main() -> None:
  errors.check(_WHAT.value in _KINDS, '--what', repr(_WHAT.value), ' or '.join(_KINDS))
  learns = _WHAT.value not in ('environment', 'render')
  expected = f'none with --what={_WHAT.value}, where no setting counts'
  errors.check(learns or not _COMPARE.value, '--compare', repr(_COMPARE.value), expected)
  errors.check(_PRESET.value in workloads.PRESETS, '--preset', repr(_PRESET.value), _OR_PRESETS)
  config = command_line.overridden(_make_config(), _CONFIG)
  configs = [config, *([_changed(config, _COMPARE.value)] if _COMPARE.value else [])]
  requested = [x.parallel.devices for x in configs]
  parallel.prepare_cpu_devices(max(requested) if all(requested) else 0)
  placements = [_place(x) for x in configs]
  compared = [_make(*pair) for pair in zip(configs, placements)]
  if _WHAT.value == 'render':
    compared.append(workloads.render_by_default(_TASK.value))
  devices = [len(placement.devices) for placement in placements]
  result = measure(compared, _REPEATS.value, devices[0])
  if _WHAT.value == 'update' and _subject(config).plans:
    result |= measure_parts(workloads.parts(_subject(config), placements[0]), _REPEATS.value)
  if devices[-1] != devices[0]:
    result['other_devices'] = devices[-1]
  result |= describe_machine() | {'flags': sys.argv[1:]}
  for name, value in result.items():
    print(f'{name:28s} {value}')
  if _PROFILE.value:
    with jax.profiler.trace(_PROFILE.value):
      compared[0].call(_REPEATS.value + 1)
  if _JSON.value:
    pathlib.Path(_JSON.value).write_text(json.dumps(result, indent=2) + '\n')


def measure(compared: list[workloads.Workload], repeats: int, devices: int) -> dict[str, float]:
  """Times one workload, or two in turns, and what the machine could do, in one run.

  Returns:
    For the first: ms_per_UNIT, the median, and spread_ms, largest minus smallest; rates per
    second; floor_ms, what its matrix products or bytes would take at the measured rate,
    and ratio_to_floor, where it has such a floor; compile_seconds; peak_memory_mb of the process,
    and device_peak_memory_mb of the first device where that has its own; devices. With a second:
    `ratio`, the median over turns of the first's time over the second's, and `other_ms_per_UNIT`.
    Frames have `frames_per_s` and, against dm_control's own renderer, `ratio_to_default`, how many
    times as many they are.
  """
  compile_seconds = [_seconds(workload, 0) for workload in compared]
  rates, times = [_machine_rate(compared[0], devices)], []
  for i in range(repeats):
    times.append([_seconds(workload, i + 1) for workload in compared])
    rates.append(_machine_rate(compared[0], devices))
  first, times = compared[0], np.array(times)
  per_unit = 1000 * times / first.count
  median = float(np.median(per_unit[:, 0]))
  result: dict[str, Any] = {
    f'ms_per_{first.unit}': median,
    'spread_ms': float(np.ptp(per_unit[:, 0])),
  }
  for name, count in first.rates.items():
    result[f'{name}_per_second'] = 1000 * count / first.count / median
  if first.work_unit:
    floor = 1000 * first.work / first.count / max(rates)
    result |= {'floor_ms': floor, 'ratio_to_floor': median / floor}
    result[f'g{first.work_unit}_per_{first.unit}'] = first.work / first.count / 1e9
    result[f'g{first.work_unit}_per_second_of_the_machine'] = max(rates) / 1e9
  if len(compared) > 1:
    result[f'other_ms_per_{first.unit}'] = float(np.median(per_unit[:, 1]))
    result['ratio'] = float(np.median(times[:, 0] / times[:, 1]))
    result['compare'] = _COMPARE.value or "dm_control's renderer"
  if first.unit == 'frame':
    result |= {'frames_per_s': 1000 / median, 'ratio_to_default': 1 / result['ratio']}
  result['compile_seconds'] = compile_seconds[0]
  result['peak_memory_mb'] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
  stats = jax.local_devices()[0].memory_stats() or {}
  if 'peak_bytes_in_use' in stats:  # Not on a CPU.
    result['device_peak_memory_mb'] = stats['peak_bytes_in_use'] / 2**20
  result['devices'] = devices
  return result


def describe_machine() -> dict[str, Any]:
  """What was timed on: the processor, cores that the process may use, jax's devices, versions."""
  names = pathlib.Path('/proc/cpuinfo')
  lines = names.read_text().splitlines() if names.is_file() else []
  models = [line.partition(':')[2].strip() for line in lines if line.startswith('model name')]
  return {
    'processor': models[0] if models else platform.processor(),
    'cores': len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count(),
    'device_kind': jax.local_devices()[0].device_kind,
    'versions': {'python': platform.python_version(), 'jax': jax.__version__},
  }


def measure_parts(parts: Mapping[str, workloads.Workload], repeats: int) -> dict[str, float]:
  """The median time of each part, in turns, as `PART_ms`, after a first call of each."""
  times = [[_seconds(part, i) for part in parts.values()] for i in range(repeats + 1)]
  medians = 1000 * np.median(times[1:], 0)
  return {f'{name}_ms': float(median) for name, median in zip(parts, medians)}


def _make_config():
  """The preset's defaults."""
  agent = workloads.PRESETS[_PRESET.value]
  if agent == 'efficient_imitate':
    return efficient_imitate.make_config(_VARIANT.value, _TASK.value, _PRESET.value)
  return {'d4pg': d4pg, 'metamimic': metamimic}[agent].make_config(_TASK.value)


def _place(config) -> parallel.Placement:
  devices = parallel.choose_devices(config.parallel.devices, _agents_part(config).shared_rows)
  return parallel.place(config.parallel.backend, devices)


def _agents_part(config):
  agent = workloads.PRESETS[_PRESET.value]
  return command_line.part(config, evaluation.AGENTS[agent].Config)


def _subject(config) -> workloads.Subject:
  spec = workloads.spec_of(_PRESET.value, _TASK.value, config.stack)
  return workloads.Subject(workloads.PRESETS[_PRESET.value], _agents_part(config), spec)


def _make(config, placement) -> workloads.Workload:
  # Not after another import of MuJoCo, which decides whether it can draw.
  if _WHAT.value == 'render':
    return workloads.render(_TASK.value)
  if _WHAT.value == 'environment':
    return workloads.environment(_TASK.value)
  subject = _subject(config)
  searches = subject.plans or _WHAT.value != 'search'
  errors.check(searches, '--what', f'search of {subject.agent}', 'another: it does not search')
  makers = {
    'update': lambda: workloads.update(subject, placement, _UPDATES.value),
    'search': lambda: workloads.search(subject, placement),
    'act': lambda: workloads.act(subject, _ENVIRONMENTS.value),
    'replay': lambda: workloads.replay(subject),
  }
  return makers[_WHAT.value]()


def _changed(config, text):
  """`config` with FIELD=VALUE, the value read as the field's type."""
  field, separator, value = text.partition('=')
  errors.check(bool(separator), '--compare', repr(text), 'FIELD=VALUE')
  try:
    value = json.loads(value)
  except json.JSONDecodeError:
    pass  # A word.
  if not field.startswith('parallel.'):
    configuration.override(_agents_part(config), {field: value})  # Others would change nothing.
  return configuration.override(config, {field: value})


def _seconds(workload, number):
  started = time.perf_counter()
  workload.call(number)
  return time.perf_counter() - started


def _machine_rate(workload, devices):
  measured = {'flop': lambda: floors.matmul_rate(devices), 'byte': floors.memory_rate}
  return measured[workload.work_unit]() if workload.work_unit else 0.0


if __name__ == '__main__':
  command_line.run(main)
