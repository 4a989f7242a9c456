"""The benchmark binary, and the floors that it compares with."""

import json

import pytest

from eimitate import configuration
from eimitate import types
from eimitate.agents import d4pg
from eimitate.agents import efficient_imitate
from experiments import floors
from experiments import workloads
from tests.experiments import programs


def test_benchmark_of_an_update_from_frames(tmp_path):
  output = tmp_path / 'benchmark.json'
  small = ['--config.batch_size=2', '--config.unroll_steps=1', '--config.search.num_simulations=2']
  small += ['--config.parallel.devices=1', '--repeats=1', '--updates=1', '--variant=tuned']
  result = programs.run('benchmark', '--preset=image', f'--json={output}', *small)
  assert result.returncode == 0, result.stderr
  values = json.loads(output.read_text())
  assert {'ms_per_update', 'floor_ms', 'ratio_to_floor', 'devices'} <= set(values)
  assert values['ratio_to_floor'] == pytest.approx(values['ms_per_update'] / values['floor_ms'])
  assert min(values[f'{part}_ms'] for part in ('representation', 'search', 'losses')) > 0


@pytest.mark.parametrize('what', ['update', 'replay'])
def test_benchmark_of_learners_without_a_search(what, tmp_path):
  output = tmp_path / 'benchmark.json'
  small = ['--repeats=1', '--updates=1', '--config.parallel.devices=1']
  result = programs.run(
    'benchmark', '--preset=metamimic', f'--what={what}', *small, f'--json={output}'
  )
  assert result.returncode == 0, result.stderr
  assert json.loads(output.read_text())['ratio_to_floor'] > 0


@pytest.mark.gl
def test_benchmark_of_frames_against_dm_control(tmp_path):
  output = tmp_path / 'benchmark.json'
  result = programs.run('benchmark', '--what=render', '--repeats=1', f'--json={output}')
  assert result.returncode == 0, result.stderr
  values = json.loads(output.read_text())
  assert values['frames_per_s'] > 0 and values['ratio_to_default'] > 1


def test_sizes_are_the_tasks():
  plain = workloads.spec_of('state', 'humanoid/walk', 1)
  assert (plain.observation_size, plain.action_size) == (67, 21)
  assert len(plain.observation_mean) == len(plain.observation_scale) == 67
  followed = workloads.spec_of('metamimic', 'ball_in_cup/catch', 1)
  assert (followed.observation_size, followed.goal, followed.rewards) == (16, 8, 2)
  assert len(followed.observation_mean) == 16 and len(followed.goal_scale) == 8
  frames = workloads.spec_of('image', 'finger/spin', 3)
  assert (frames.observed, frames.action_size) == ((48, 48, 9), 2)


@pytest.mark.parametrize(
  'arguments, said',
  [
    (['--preset=pixels'], "--preset: found 'pixels', expected state or image or d4pg or metamimic"),
    (['--preset=d4pg', '--what=search'], '--what: found search of d4pg, expected another'),
    (['--what=render', '--compare=batch_size=2'], "--compare: found 'batch_size=2', expected none"),
    (['--preset=d4pg', '--config.search.kind=mctx'], "no field 'search'"),
    (['--task=walker/fly'], "task: found 'walker/fly'"),
  ],
)
def test_benchmark_says_what_it_cannot_do(arguments, said):
  result = programs.run('benchmark', *arguments)
  assert result.returncode == 2 and said in result.stderr, result.stderr


def test_benchmark_compares_in_one_run(tmp_path):
  output = tmp_path / 'benchmark.json'
  arguments = ['--what=replay', '--compare=unroll_steps=40', f'--json={output}', '--repeats=3']
  result = programs.run('benchmark', *arguments, f'--profile={tmp_path / "trace"}')
  assert result.returncode == 0, result.stderr
  values = json.loads(output.read_text())
  assert 0 < values['ratio'] < 1 and values['compare'] == 'unroll_steps=40'
  assert values['processor'] and values['cores'] >= 1 and values['versions']['jax']
  assert values['flags'] == arguments + [f'--profile={tmp_path / "trace"}']
  assert values['floor_ms'] > 0 and values['windows_per_second'] > 0
  assert list((tmp_path / 'trace').rglob('*.xplane.pb'))


def test_benchmark_compares_two_searches(tmp_path):
  output = tmp_path / 'benchmark.json'
  small = ['--config.batch_size=2', '--config.unroll_steps=1', '--config.search.num_simulations=2']
  small += ['--config.parallel.devices=1', '--repeats=1']
  compared = ['--what=search', '--variant=paper', '--compare=search.kind=mctx']
  result = programs.run('benchmark', *compared, *small, f'--json={output}')
  assert result.returncode == 0, result.stderr
  values = json.loads(output.read_text())
  assert values['ratio'] > 0 and values['root_simulations_per_second'] > 0


def test_benchmark_compares_numbers_of_devices(tmp_path):
  output = tmp_path / 'benchmark.json'
  arguments = ['--config.parallel.devices=1', '--compare=parallel.devices=2', '--repeats=1']
  result = programs.run('benchmark', '--what=replay', *arguments, f'--json={output}')
  assert result.returncode == 0, result.stderr
  values = json.loads(output.read_text())
  assert (values['devices'], values['other_devices']) == (1, 2)
  refused = programs.run('benchmark', '--what=replay', '--compare=agent_steps=7')
  assert refused.returncode == 2 and "no field 'agent_steps'" in refused.stderr


@pytest.mark.parametrize('what', ['act', 'environment'])
def test_benchmark_of_acting(what):
  result = programs.run('benchmark', f'--what={what}', '--variant=tuned', '--repeats=1')
  assert result.returncode == 0, result.stderr
  assert 'per_second' in result.stdout


def test_floor_by_hand():
  config = configuration.override(
    efficient_imitate.tuned(),
    {'batch_size': 4, 'unroll_steps': 1, 'networks.latent': 5, 'networks.dynamics': (7,)}
    | {'networks.value': (), 'networks.policy': (), 'networks.discriminator': (3,)}
    | {
      'networks.bc_members': 3,
      'networks.value_bins': 11,
      'search.num_actions': 2,
      'search.num_simulations': 2,
    },
  )
  # 2 rows of 3 positions: observation 24 -> 5, 4 x 5 -> 12, and 2 children: 11 -> 7 -> 5,
  # 11 -> 3 -> 1 and 5 -> 11; the root's value is one of those that are averaged.
  edge, value, policy = 11 * 7 + 7 * 5 + 11 * 3 + 3, 5 * 11, 5 * 12
  expected = 2 * 6 * (24 * 5 + 4 * policy + 2 * (edge + value) + value)
  spec = types.EnvironmentSpec(24, 6)
  assert floors.search_flops(config, spec) == expected
  # 16 sequences of 3 steps, twice; 3 proposed by the policy, 1 by the BC policy, and its plan.
  sequences = {'search.kind': 'cem', 'search.depth': 3, 'search.num_sequences': 16}
  cem = configuration.override(config, sequences | {'search.num_iterations': 2})
  rolled = 2 * 16 * (3 * edge + value) + 3 * (4 * edge + 3 * policy + 3 * policy)
  plan = 3 * (11 * 7 + 7 * 5 + 3 * policy)
  assert floors.search_flops(cem, spec) == 2 * 6 * (24 * 5 + rolled + plan)


def test_floor_of_frames_by_hand():
  """What an observation costs beside one before it: with points, its newest frame alone."""
  settings = {'batch_size': 2, 'unroll_steps': 1, 'networks.latent': 5, 'networks.encoder': (4, 6)}
  settings |= {'networks.representation': (7,)}
  config = configuration.override(efficient_imitate.tuned(True), settings)
  spec = types.EnvironmentSpec(0, 1, frame=(9, 9, 3), stack=2)
  policies, edge = 5 * 256 + 256 * 256 + 256 * 2, 6 * 256 + 256 * 5 + 6 * 128 + 128
  value = 5 * 128 + 128 * 128 + 128 * 121
  rest = 6 * policies + 16 * (edge + value) + value
  frame = 3 * 3 * 25 * 3 * 4 + 3 * 3 * 9 * 4 * 6 + 9 * 12 + 12 * 7 + 7 * 12
  # Three positions of two frames each show four frames.
  expected = 2 * (4 * frame + 3 * (2 * 12 * 5 + rest))
  assert floors.search_flops(config, spec) == pytest.approx(expected)
  encoder = {'networks.keypoints': False, 'networks.encoder': (4,)}
  stacked = 5 * 5 * 25 * 6 * 4 + 5 * 5 * 4 * 5
  config = configuration.override(config, encoder)
  assert floors.search_flops(config, spec) == pytest.approx(2 * 3 * (stacked + rest))


def test_floor_of_d4pg_by_hand():
  config = configuration.override(
    d4pg.Config(), {'batch_size': 4, 'policy': (5,), 'critic': (7,), 'num_atoms': 11}
  )
  policy, critic = 24 * 5 + 5 * 6, 30 * 7 + 7 * 11
  # Each is trained once, at three times its forward pass, and asked for a target; the gradient of
  # the policy goes through the critic and back.
  expected = 2 * 4 * (3 * policy + policy + 3 * critic + critic + 2 * critic)
  assert floors.update_flops('d4pg', config, types.EnvironmentSpec(24, 6)) == expected
