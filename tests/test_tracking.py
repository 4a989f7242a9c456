"""What a run that follows demonstrations is given, how it is evaluated, and what it refuses."""

import dataclasses
import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from eimitate import acting
from eimitate import configuration
from eimitate import demonstrations
from eimitate import environments
from eimitate import errors
from eimitate import evaluation
from eimitate import imitation
from eimitate import inputs
from eimitate import logs
from eimitate import runs
from eimitate import tracking
from eimitate import training
from eimitate import types
from eimitate.agents import behavioural_cloning
from eimitate.agents import d4pg
from eimitate.agents import efficient_imitate
from eimitate.agents import metamimic
from eimitate.demonstrations import demonstrators
from eimitate.demonstrations import recording
from eimitate.environments import simulated
from experiments import command_line
from experiments.configs import d4pg as d4pg_config
from experiments.configs import metamimic as metamimic_config

_TASK = 'ball_in_cup/catch'
_METADATA = demonstrations.Metadata(_TASK, 4, 0.08, 'a test', {}, 0)
_SMALL = {
  'num_demonstrations': 3,
  'agent_steps': 30,
  'updates_per_agent_step': 0.2,
  'updates_per_call': 2,
  'replay.episodes': 8,
  'replay.longest': 250,
  'actors.num': 3,
  'tracking.task_actors': 1,
  'tracking.curriculum': 4,
  'evaluation.episodes': 1,
  'evaluation.interval': 1000,
  'parallel.devices': 1,
  **{
    f'{learner}.{field}': value
    for learner in ('imitation', 'task')
    for field, value in {'batch_size': 4, 'policy': (8,), 'critic': (8,), 'num_atoms': 5}.items()
  },
}


@pytest.fixture(name='recorded', scope='module')
def _recorded():
  environment = environments.make_environment(_TASK, 4)
  short = demonstrators.Demonstrator(demonstrators.smooth, longest=8)
  return recording.record(short, environment, 5, seed=0)


@pytest.fixture(name='path')
def _path(recorded, tmp_path):
  demonstrations.save(tmp_path / 'smooth.npz', _METADATA, recorded)
  return tmp_path / 'smooth.npz'


def _run(path, preset='state', **changed):
  settings = _SMALL | {'demonstrations': str(path)}
  settings |= {name.replace('__', '.'): value for name, value in changed.items()}
  config = configuration.override(metamimic_config.make_config(_TASK, preset), settings)
  part = lambda cls: cls(**{x.name: getattr(config, x.name) for x in dataclasses.fields(cls)})
  return runs.Run('metamimic', _TASK, 0, part(metamimic.Config), part(runs.Config))


def _refused(tmp_path, run, match):
  """Before anything is written."""
  with pytest.raises(errors.InputError, match=match):
    training.train(run, tmp_path / 'run')
  assert not (tmp_path / 'run').exists()


def test_demonstrations_of_another_task_or_timestep(recorded, tmp_path):
  for changed, match in (
    ({'task': 'reacher/easy'}, "demonstrations task: found 'reacher/easy'"),
    ({'control_timestep': 0.04}, "control timestep: found 0.04 s, expected the task's 0.08"),
    ({'action_repeat': 2}, "expected the demonstrations' 2"),
  ):
    path = tmp_path / 'other.npz'
    demonstrations.save(path, dataclasses.replace(_METADATA, **changed), recorded)
    _refused(tmp_path, _run(path), match)


def test_unseen_demonstrations_of_another_task(path, recorded, tmp_path):
  other = dataclasses.replace(_METADATA, task='reacher/easy')
  demonstrations.save(tmp_path / 'other.npz', other, recorded)
  run = _run(path, tracking__validation=str(tmp_path / 'other.npz'))
  _refused(tmp_path, run, "demonstrations task: found 'reacher/easy'")


def test_unseen_demonstrations_that_are_learnt_from(path, recorded, tmp_path):
  demonstrations.save(tmp_path / 'same.npz', _METADATA, recorded[2:])
  run = _run(path, tracking__validation=str(tmp_path / 'same.npz'))
  _refused(tmp_path, run, 'config.tracking.validation: found 1 that are learnt from')


def test_a_demonstration_shorter_than_n_step(path, tmp_path):
  run = _run(path, imitation__n_step=9)
  _refused(tmp_path, run, 'demonstrations: found one of 8 steps, expected at least n_step = 9')


def test_goals_past_the_end(path, tmp_path):
  for field in ('curriculum', 'task_curriculum'):
    run = _run(path, **{f'tracking__{field}': 9})
    _refused(tmp_path, run, 'curriculum: found 9, expected at most 8, the steps of the shortest')


@pytest.mark.parametrize(
  ('change', 'match'),
  [
    (lambda states: states[:, :-1], r'state: found shape \(36,\), expected \(37,\)'),
    (lambda states: states[:, :0], 'demonstrations states: found none'),
    (lambda states: states + 0.1, 'episode 0 states: found observations off by'),
  ],
)
def test_states_that_the_model_cannot_take(recorded, tmp_path, change, match):
  changed = [episode._replace(states=change(episode.states)) for episode in recorded]
  demonstrations.save(tmp_path / 'states.npz', _METADATA, changed)
  _refused(tmp_path, _run(tmp_path / 'states.npz'), match)


def test_an_observation_that_would_mean_no_goal(recorded, tmp_path):
  trajectory = recorded[0].trajectory
  zeros = trajectory._replace(observations=np.zeros_like(trajectory.observations))
  changed = [recorded[0]._replace(trajectory=zeros), *recorded[1:]]
  demonstrations.save(tmp_path / 'zeros.npz', _METADATA, changed)
  _refused(tmp_path, _run(tmp_path / 'zeros.npz'), 'episode 0: found an observation of zeros')


@pytest.mark.parametrize(
  ('field', 'text', 'match'),
  [
    ('parts', 'position=15,wrist=2', 'parts: found wrist, expected parts among position, velocity'),
    ('farthest', 'hand=0.01', 'farthest: found hand, expected parts among position, velocity'),
    ('parts', 'position=0', "parts: found 'position=0', expected a weight above 0"),
    ('parts', 'position', "parts: found 'position', expected NAME=NUMBER"),
    ('parts', 'position=-1', "parts: found 'position=-1', expected NAME=NUMBER"),
    ('parts', 'position=nan', "parts: found 'position=nan', expected NAME=NUMBER"),
  ],
)
def test_parts_that_are_not_observed(path, tmp_path, field, text, match):
  _refused(tmp_path, _run(path, **{f'tracking__{field}': text}), match)


def test_ray_has_no_demonstrations(path, tmp_path):
  match = "placement: found 'ray', expected 'host' or 'device'"
  _refused(tmp_path, _run(path, actors__placement='ray'), match)


def test_demonstrations_longer_than_an_episode(path, recorded, tmp_path):
  longer = [
    episode._replace(
      states=np.repeat(episode.states, 32, 0)[:-1],
      trajectory=episode.trajectory._replace(
        observations=np.repeat(episode.trajectory.observations, 32, 0)[:-1],
        **{
          name: np.resize(getattr(episode.trajectory, name), (286, *shape))
          for name, shape in (('actions', (2,)), ('rewards', ()), ('discounts', ()))
        },
      ),
    )
    for episode in recorded
  ]
  demonstrations.save(tmp_path / 'longer.npz', _METADATA, longer)
  _refused(tmp_path, _run(tmp_path / 'longer.npz'), "one of 286 steps, expected at most the task's")


def test_some_actor_must_follow(path, tmp_path):
  _refused(tmp_path, _run(path, tracking__task_actors=3), 'task_actors: found 3, expected fewer')


def test_parts_and_statistics_by_hand(path, recorded):
  run = _run(path, tracking__parts='velocity=2', tracking__farthest='position=0.5')
  given = inputs.load(run)
  rows = [episode.trajectory.observations for episode in recorded[:3]]
  positions, velocities = np.split(np.concatenate(rows), 2, 1)
  position, velocity = given.parts['position'], given.parts['velocity']
  assert (position.weight, position.farthest) == (0, 0.5)
  assert (velocity.weight, velocity.farthest) == (2, np.inf)
  assert velocity.scale == pytest.approx(0.1 * velocities.var(0).sum(), rel=1e-5)
  assert given.spec.goal == 8 and given.spec.observation_size == 16 and given.spec.rewards == 2
  steps = np.concatenate([np.diff(x, axis=0) for x in rows])
  spread = np.concatenate(rows).std(0)
  np.testing.assert_allclose(given.spec.observation_scale, [*spread, *spread], rtol=1e-5)
  np.testing.assert_allclose(given.spec.goal_scale, np.sqrt((steps**2).mean(0)), rtol=1e-5)
  # Two follow and one performs; two unseen, three seen and one performance are evaluated.
  assert len(given.environments) == 3 and len(given.evaluators) == 6


def test_the_demonstrations_own_actions_are_worth_all(path, recorded):
  given = inputs.load(_run(path))
  order = [*recorded[3:], *recorded[:3]]
  actions = iter(np.stack([episode.trajectory.actions for episode in order], 1))

  def act(observations):
    rows = next(actions, np.zeros((5, 2)))
    return np.concatenate([rows, np.zeros((1, 2))])

  trajectories = acting.collect_episodes(act, given.evaluators, range(6)).trajectories
  summary = given.summarise(trajectories)
  assert summary['imitation_fraction'] == summary['training_imitation_fraction'] == 1
  assert summary['tracked_fraction'] == 1 and summary['mean_return'] == 8


def test_demonstrations_have_no_goals_where_no_update_samples_them(path, recorded):
  given = inputs.load(_run(path))
  assert inputs.demonstrations_replay(given) is None
  # Frames and goals would take three times the memory of frames.
  for kept, episode in zip(given.dataset.episodes, recorded[:3], strict=True):
    np.testing.assert_array_equal(kept.trajectory.observations, episode.trajectory.observations)


def test_fractions_by_hand(recorded):
  episodes = [tracking.Imitation(3.0, 8.0, 2.0, 4.0, 5), tracking.Imitation(1.0, 8.0, 1.0, 0.0, 3)]
  assert tracking.fractions(episodes) == {
    'imitation_fraction': 0.25, 'tracked_fraction': 0.5, 'task_fraction': 0.75,
  }  # fmt: skip
  # Where the demonstrators have no return there is no fraction of it, and none is logged.
  assert tracking.fractions(episodes[1:])['task_fraction'] is None
  nothing = recorded[0]._replace(
    trajectory=recorded[0].trajectory._replace(rewards=np.zeros(8, np.float32))
  )
  summary = tracking.make_summary([nothing], [nothing])([None, None])
  assert summary['imitation_fraction'] == 0 and 'task_fraction' not in summary


def test_a_run_resumes_exactly_and_imitates_unseen_demonstrations(
  path, recorded, tmp_path, monkeypatch
):
  run = _run(path, agent_steps=700, checkpoints__interval=100)
  training.train(run, tmp_path / 'whole')
  saved = iter([False] * 9)
  training.train(run, tmp_path / 'parts', lambda: next(saved, True))
  # Directories of older versions do not say what was learnt from.
  config = tmp_path / 'parts' / 'config.json'
  description = json.loads(config.read_text())
  assert len(description.pop('learnt').split()) == 3
  config.write_text(json.dumps(description))
  training.train(run, tmp_path / 'parts')
  whole, parts = ((tmp_path / x / 'metrics.jsonl').read_text() for x in ('whole', 'parts'))
  assert whole == parts and 'eval/imitation_fraction' in whole and 'eval/task_return' in whole

  monkeypatch.setattr(imitation, '_BATCH', 1)  # One after the other, it comes to the same.
  loaded = evaluation.load(tmp_path / 'whole')
  performing = evaluation.performing(loaded)
  performed = evaluation.evaluate(performing, evaluation.environments_of(performing, 2))
  assert performed['failed_episodes'] == 0 and len(performed['returns']) == 2
  # The demonstrations are shorter than the task: their returns are no measure.
  assert performing.description['expert_return'] == 0 and performed['fraction_of_expert'] is None
  result = imitation.evaluate(loaded, path)
  # Three of the five were learnt from.
  assert result['demonstrations'] == 2
  assert imitation.evaluate(loaded, path, 1)['imitations'] == result['imitations'][:1]
  with pytest.raises(errors.InputError, match='--episodes: found 3, expected 1 to 2 episodes'):
    imitation.evaluate(loaded, path, 3)
  assert set(result['baselines']) == {'zero_action', 'noisy_replay', 'analytic_tracker'}
  # Who knows the simulator needs no action shown; but one of two is lost as its string tightens.
  assert result['baselines']['analytic_tracker']['imitation_fraction'] > 0.6
  for measured in (result, *result['baselines'].values()):
    assert 0 <= measured['imitation_fraction'] <= measured['tracked_fraction'] <= 1
  # In a file with another checksum, what was learnt from is still not unseen.
  demonstrations.save(tmp_path / 'part.npz', _METADATA, recorded[2:])
  match = '--demonstrations: found .*part.npz with 1 learnt from, expected unseen ones'
  with pytest.raises(errors.InputError, match=match):
    imitation.evaluate(loaded, tmp_path / 'part.npz')
  demonstrations.save(tmp_path / 'part.npz', _METADATA, recorded[3:])
  assert imitation.evaluate(loaded, tmp_path / 'part.npz') == result
  last = [line for line in whole.splitlines() if 'eval/imitation_fraction' in line][-1]
  assert f'"eval/imitation_fraction": {result["imitation_fraction"]}' in last


def test_d4pg_learns_to_track_without_actions(recorded, tmp_path):
  unknown = [
    x._replace(trajectory=x.trajectory._replace(actions=np.zeros((8, 0), np.float32)))
    for x in recorded
  ]
  path = str(tmp_path / 'unknown.npz')
  demonstrations.save(path, _METADATA, unknown)
  config = configuration.override(
    d4pg_config.make_config(_TASK, reward='tracking'),
    {name: value for name, value in _SMALL.items() if not name.startswith(('imitation', 'task'))}
    | {'demonstrations': path, 'batch_size': 4, 'policy': (8,), 'critic': (8,)}
    | {'tracking.task_actors': 0, 'num_demonstrations': 0},
  )
  run = runs.Run(
    'd4pg', _TASK, 0, command_line.part(config, d4pg.Config), command_line.part(config, runs.Config)
  )
  # Of five demonstrations one is kept for evaluation.
  given = inputs.load(run)
  assert len(given.dataset.episodes) == 4
  [collected, *_] = acting.collect_episodes(
    lambda seen: np.zeros((len(seen), 2), np.float32), given.environments, range(3)
  ).trajectories
  # Each step's reward is how well it tracks, not the task's, which is 0 or 1 times the repeat.
  assert collected.rewards.ndim == 1 and 0 < collected.rewards[0] <= 1
  result = training.train(run, tmp_path / 'run')
  assert 0 <= result['imitation_fraction'] <= 1 and 'task_return' not in result
  loaded = evaluation.load(tmp_path / 'run')
  assert imitation.evaluate(loaded, path)['demonstrations'] == 1
  with pytest.raises(errors.InputError, match='--demonstrations: found none, expected a dataset'):
    evaluation.performing(loaded)


def test_behavioural_cloning_learns_what_leads_to_a_goal(path, recorded, tmp_path):
  changed = {'tracking.task_actors': 0, 'updates_per_agent_step': 20.0, 'updates_per_call': 50}
  config = configuration.override(_run(path).config, changed)
  agent_config = behavioural_cloning.Config(reward='tracking', batch_size=16, policy=(64,))
  run = runs.Run('behavioural_cloning', _TASK, 0, agent_config, config)
  result = training.train(run, tmp_path / 'run')
  assert 0 <= result['imitation_fraction'] <= 1 and 'task_return' not in result
  loaded = evaluation.load(tmp_path / 'run')
  own = recorded[0].trajectory
  seen = np.hstack([own.observations[:-1], own.observations[1:]])
  chosen = loaded.policy(loaded.params, jax.random.key(0), seen)
  assert np.square(chosen - own.actions).mean() < 0.2 * np.square(own.actions).mean()
  assert imitation.evaluate(loaded, path)['demonstrations'] == 2


def test_efficient_imitate_learns_to_track(path, recorded, tmp_path):
  small = {
    'reward': 'tracking', 'batch_size': 8, 'networks.latent': 8, 'networks.dynamics': (8,),
    'networks.value': (8,), 'networks.policy': (8,), 'networks.discriminator': (8,),
    'search.num_simulations': 4, 'search.num_actions': 4, 'search.max_considered_actions': 4,
    'search.num_sequences': 8, 'search.num_elites': 2, 'search.depth': 2,
  }  # fmt: skip
  agent_config = configuration.override(efficient_imitate.tuned(), small)
  config = configuration.override(_run(path).config, {'tracking.task_actors': 0})
  run = runs.Run('efficient_imitate', _TASK, 0, agent_config, config)
  given = inputs.load(run)
  rows = inputs.demonstrations_replay(given).rows
  # A demonstration follows itself without fault: its next observation is its goal, its reward 1.
  own = recorded[0].trajectory
  np.testing.assert_array_equal(
    rows.observation[:8], np.hstack([own.observations[:-1], own.observations[1:]])
  )
  np.testing.assert_array_equal(rows.reward[:9], [1] * 8 + [0])
  np.testing.assert_array_equal(rows.action[:8], own.actions)
  result = training.train(run, tmp_path / 'run')
  assert 0 <= result['imitation_fraction'] <= 1 and 'task_return' not in result
  lines = (tmp_path / 'run' / 'metrics.jsonl').read_text()
  assert 'loss/reward' in lines and 'loss/discriminator' not in lines
  assert imitation.evaluate(evaluation.load(tmp_path / 'run'), path)['demonstrations'] == 2

  unknown = [
    x._replace(trajectory=x.trajectory._replace(actions=np.zeros((8, 0), np.float32)))
    for x in recorded
  ]
  demonstrations.save(tmp_path / 'unknown.npz', _METADATA, unknown)
  changed = dataclasses.replace(config, demonstrations=str(tmp_path / 'unknown.npz'))
  _refused(tmp_path / 'other', run._replace(config=changed), 'demonstrations actions: found none')


def test_what_lies_still_has_no_units_of_micrometres(recorded):
  rng = np.random.default_rng(0)
  shown = [rng.normal(size=3) + 1e-6 * rng.normal(size=(9, 3)) for _ in range(4)]
  episodes = [
    episode._replace(trajectory=episode.trajectory._replace(observations=observations))
    for episode, observations in zip(recorded, shown)
  ]
  dataset = demonstrations.Dataset(_METADATA, tuple(episodes), '')
  spec = tracking.make_spec(types.EnvironmentSpec(3, 2), dataset, 2)
  np.testing.assert_allclose(spec.goal_scale, 0.01 * np.concatenate(shown).std(0))


def test_agents_that_follow_none_may_begin_within_demonstrations(path, recorded, tmp_path):
  tiny = {'batch_size': 8, 'policy': (8,), 'critic': (8,), 'num_atoms': 5}
  agent_config = configuration.override(d4pg.Config(), tiny)
  settings = {'num_demonstrations': 0, 'tracking.task_actors': 0, 'tracking.curriculum': 0}
  settings['replay.longest'] = 0
  config = configuration.override(_run(path).config, settings | {'tracking.task_curriculum': 4})
  run = runs.Run('d4pg', _TASK, 0, agent_config, config)
  begun = inputs.load(run).environments[0]
  shown = np.concatenate([episode.trajectory.observations[:4] for episode in recorded])
  starts = set()
  for seed in range(30):
    begun.seed(seed)
    starts.add(int(np.flatnonzero((shown == begun.reset().observation).all(1))[0]))
  assert len(starts) > 10
  assert 'task_return' not in training.train(run, tmp_path / 'run')
  for changed, match in (
    ({'tracking.task_curriculum': 9}, 'task_curriculum: found 9, expected at most 8'),
    ({'tracking.cutoff': 0.2}, 'tracking.cutoff: found 0.2, expected 0.5, as the agent follows no'),
    ({'actors.placement': 'ray'}, 'task_curriculum: found 4 with actors on ray'),
  ):
    _refused(
      tmp_path / 'other', run._replace(config=configuration.override(config, changed)), match
    )


@pytest.mark.gl
def test_a_start_draws_nothing_that_is_cached(path, recorded, tmp_path, monkeypatch):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  run = _run(path, frame_size=16, stack=1)
  parts = inputs.load(run).parts
  # Of 500 demonstrations of the arm that would be 150,500 frames, at every start.
  monkeypatch.setattr(simulated.Simulated, 'render', None)
  again = inputs.load(run)
  assert again.parts == parts and set(parts) == {'image', 'position', 'velocity'}
  # Positions and velocities are compared as they were recorded.
  followed = again.environments[0]._demonstrations
  for shown, episode in zip(followed, recorded[:3], strict=True):
    assert shown.shown.shape == (9, 16, 16, 3)
    np.testing.assert_array_equal(
      np.concatenate([*shown.parts.values()], 1), episode.trajectory.observations
    )


@pytest.mark.gl
def test_a_run_from_frames_resumes_and_imitates_unseen_demonstrations(path, tmp_path, monkeypatch):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  settings = {'frame_size': 16, 'agent_steps': 500, 'updates_per_agent_step': 0.01}
  settings['tracking.width'] = 1.0  # Or a step without an idea what to do loses track.
  for learner in ('imitation', 'task'):
    for name, value in {'channels': (4,), 'blocks': 0, 'output': 8}.items():
      settings[f'{learner}.tower.{name}'] = value
  run = _run(path, 'image', **settings)
  left = iter(range(2))
  training.train(run, tmp_path / 'run', lambda: next(left, None) is None)
  before = evaluation.load(tmp_path / 'run').counters
  result = training.train(run, tmp_path / 'run')
  loaded = evaluation.load(tmp_path / 'run')
  assert 0 < before['updates'] < loaded.counters['updates']
  assert before['agent_steps'] < 500 <= loaded.counters['agent_steps']
  rows = logs.read(tmp_path / 'run' / 'metrics.jsonl')
  assert {'loss/imitation_critic', 'loss/task_critic'} <= set().union(*rows)

  evaluated = imitation.evaluate(loaded, path)
  assert evaluated['demonstrations'] == 2
  assert evaluated['imitation_fraction'] == pytest.approx(result['imitation_fraction'])
  assert 0 < evaluated['imitation_fraction'] <= evaluated['tracked_fraction'] <= 1
  tracked = {name: x['imitation_fraction'] for name, x in evaluated['baselines'].items()}
  # It steers by positions and velocities, and is measured by frames, too.
  assert tracked.pop('analytic_tracker') > tracked.pop('noisy_replay') > tracked.pop('zero_action')
  assert not tracked

  # The task policy, too, in a process that nobody has told to draw.
  program = f"""
from eimitate import evaluation
performing = evaluation.performing(evaluation.load({str(tmp_path / 'run')!r}))
assert evaluation.environments_of(performing, 1)[0].reset().observation.shape == (16, 16, 3)
"""
  untold = {name: value for name, value in os.environ.items() if name != 'MUJOCO_GL'}
  subprocess.run([sys.executable, '-c', program], env=untold, check=True)


def test_a_stack_beside_goals_is_refused(path, tmp_path):
  run = _run(path, frame_size=16, stack=4)
  _refused(tmp_path, run, 'config.stack: found 4, expected 1: a goal is one frame')


def test_rewards_are_scaled_by_the_action_repeat_that_is_asked_for():
  scale = lambda *arguments: metamimic_config.make_config(*arguments).task.reward_scale
  assert scale(_TASK) == 0.25 and scale(_TASK, 'state', 2) == 0.5
  assert d4pg_config.make_config('jaco/stack', 'state', 4).reward_scale == 0.25
  assert d4pg_config.make_config('walker/walk', 'image').target_return == 873.5


def test_the_papers_weights_for_the_arm():
  parse = lambda preset: tracking._parse(
    'parts', metamimic_config.make_config('jaco/stack', preset).tracking.parts
  )
  weights = parse('image')
  assert weights.pop('image') == 15 and sum(weights.values()) == 2
  assert parse('state') == weights


def test_replay_without_noise_would_be_worth_all(recorded, monkeypatch):
  monkeypatch.setattr(imitation, 'REPLAY_NOISE', 0.0)
  others = imitation.baselines(2, actions_known=True)
  taken = others['noisy_replay'](recorded)
  np.testing.assert_array_equal(taken, np.stack([x.trajectory.actions for x in recorded], 1))
  np.testing.assert_array_equal(others['zero_action'](recorded), np.zeros((8, 5, 2)))
  assert set(imitation.baselines(2, actions_known=False)) == {'zero_action'}
