"""Loading an agent from a checkpoint alone, rolling it out, and summing up."""

from collections.abc import Callable, Sequence
import itertools
import os
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from eimitate import acting
from eimitate import acting_on_device
from eimitate import agents
from eimitate import checkpoints as checkpoints_lib
from eimitate import configuration
from eimitate import environments as environments_lib
from eimitate import errors
from eimitate import logs
from eimitate import runs
from eimitate import tracking
from eimitate import types
from eimitate.demonstrations import dataset as dataset_lib

AGENTS = {
  'efficient_imitate': agents.efficient_imitate,
  'd4pg': agents.d4pg,
  'behavioural_cloning': agents.behavioural_cloning,
  'metamimic': agents.metamimic,
}

# What a run's config.json says: everything that rebuilds its agent.
_DESCRIPTION = {
  'agent',
  'task',
  'seed',
  'action_repeat',
  'agent_config',
  'config',
  'demonstrations',
  'learnt',
  'expert_return',
  'tracking',
  'environment_spec',
}

_SEED = 1_000_000  # Evaluation's episodes are the same for every checkpoint.


# `(params, rng_key, observations [B, O]) -> actions [B, A]`, compiled.
Policy = Callable[[types.Params, chex.PRNGKey, jax.Array], jax.Array]


class Loaded(NamedTuple):
  """An agent out of a checkpoint.

  policy, params: what acts. description: the run's config.json. counters: steps so far.
  """

  policy: Policy
  params: types.Params
  description: dict[str, Any]
  counters: dict[str, int]


def load(path: str | os.PathLike, task: str = '', best: bool = False) -> Loaded:
  """Rebuilds an agent from a work directory, its `checkpoints` folder or one step in it.

  Args:
    path: where to look.
    task: if given, what the checkpoint must have been trained on.
    best: of a work directory, the step of the best evaluation instead of the latest.

  Raises:
    InputError: if there is no checkpoint, or it is damaged or of another task, agent or version.
  """
  checkpoints, step = checkpoints_lib.open_existing(path, best)
  try:
    texts = checkpoints.restore_texts(step)
    description = {'learnt': ''} | texts['config']  # Older checkpoints do not say.
    differing = sorted(set(description) ^ _DESCRIPTION)
    expected = "this version's checkpoints: train again, or use the version that wrote it"
    errors.check(not differing, 'checkpoint', f'one that differs in {differing}', expected)
    name = description['agent']
    errors.check(name in AGENTS, 'checkpoint agent', repr(name), ' or '.join(AGENTS))
    found = description['task']
    errors.check(task in ('', found), 'checkpoint task', repr(found), repr(task))
    module = AGENTS[name]
    config = configuration.from_dict(module.Config, description['agent_config'])
    # JSON has no tuples.
    fields: dict[str, Any] = {
      name: tuple(value) if isinstance(value, list) else value
      for name, value in description['environment_spec'].items()
    }
    spec = types.EnvironmentSpec(**fields)
    agent = module.make_agent(config, spec)
    # Only their shapes: making parameters to throw away would take seconds.
    shapes = jax.eval_shape(lambda key: agent.params(agent.init(key)), jax.random.key(0))
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), shapes)
    params = checkpoints.restore(step, lambda meta: {'params': like})['params']
  finally:
    checkpoints.close()
  return Loaded(jax.jit(agent.act_greedily), params, description, texts['meta']['counters'])


def make_environments(
  task: str,
  action_repeat: int,
  factory: str,
  frame_size: int,
  count: int,
  placement: str = 'host',
) -> list | environments_lib.OnDevice:
  """As many environments as are acted on in one batch; a program where they are on device."""
  if placement == 'device':
    return environments_lib.make_on_device(task, action_repeat, count, factory, frame_size)
  make = environments_lib.make_environment
  return [make(task, action_repeat, factory, frame_size) for _ in range(count)]


def rollout(
  policy: Policy,
  params: types.Params,
  environments: Sequence | environments_lib.OnDevice,
  stack: int = 1,
) -> acting.Collected:
  """One greedy episode per environment, always from the same initial states."""
  if isinstance(environments, environments_lib.OnDevice):
    trajectories, failed = acting_on_device.rollout(policy, params, environments, _SEED)
    return acting.Collected(trajectories, {'not_finite': failed} if failed else {})
  calls = itertools.count()

  def act(observations):
    return np.asarray(policy(params, jax.random.key(next(calls)), observations))

  seeds = [_SEED + i for i in range(len(environments))]
  return acting.collect_episodes(act, environments, seeds, stack)


def task_returns(trajectories: Sequence[types.Trajectory | None]) -> list[float]:
  """The task's return of each; 0 where the environment failed."""
  return [trajectory.task_return if trajectory else 0.0 for trajectory in trajectories]


def summarise_trajectories(
  trajectories: Sequence[types.Trajectory | None], expert_return: float
) -> dict[str, float]:
  """`summarise` of the task's returns."""
  return summarise(task_returns(trajectories), expert_return)


def summarise(returns: Sequence[float], expert_return: float) -> dict[str, float]:
  """Mean, spread and, where an expert's return is known and above 0, the mean's fraction of it."""
  mean = float(np.mean(returns))
  summary = {
    'mean_return': mean,
    'std_return': float(np.std(returns)),
    'min_return': float(np.min(returns)),
  }
  return summary | ({'fraction_of_expert': mean / expert_return} if expert_return > 0 else {})


def interquartile(runs: Sequence[Sequence[float]], resamples: int = 2000) -> dict[str, float]:
  """The interquartile mean and how sure it is (Agarwal et al., 2021).

  Args:
    runs: the returns of every run's episodes.
    resamples: of the bootstrap, whose seed is fixed.

  Returns:
    `iqm_return`, the mean of the middle half of all episodes; `iqm_low` and `iqm_high`, its 95%
    interval when episodes are drawn anew within each run.
  """
  rng = np.random.default_rng(0)

  def iqm(returns):
    # scipy.stats.trim_mean; importing it would be a quarter of what every binary imports.
    ordered = np.sort(np.concatenate(returns))
    cut = len(ordered) // 4
    return float(ordered[cut : len(ordered) - cut].mean())

  drawn = [iqm([rng.choice(run, len(run)) for run in runs]) for _ in range(resamples)]
  low, high = np.percentile(drawn, [2.5, 97.5])
  return {'iqm_return': iqm(runs), 'iqm_low': float(low), 'iqm_high': float(high)}


def performing(loaded: Loaded) -> Loaded:
  """The agent where it has no goal before it.

  Of one that also follows demonstrations this is its policy for the task. Its returns are compared
  with the demonstrations' own, if these are still there and last as long as the task does.

  Raises:
    InputError: if it can only follow demonstrations.
  """
  description = loaded.description
  if not description['tracking']:
    return loaded
  spec = description['environment_spec']
  expected = 'a dataset, for an agent that only imitates'
  errors.check(spec['rewards'] > 1, '--demonstrations', 'none', expected)
  *size, channels = spec['frame'] or (0,)
  spec = spec | {
    'observation_size': max(spec['observation_size'] - spec['goal'], 0),
    'frame': (*size, channels - spec['goal']) if spec['frame'] else (),
    'goal': 0,
    'rewards': 1,
  }
  alone = {'tracking': {}, 'environment_spec': spec, 'expert_return': _demonstrated(description)}

  @jax.jit
  def policy(params, rng_key, seen):
    no_goal = jnp.zeros_like(seen)
    return loaded.policy(params, rng_key, jnp.concatenate([seen, no_goal], -1))

  return loaded._replace(policy=policy, description=description | alone)


def _demonstrated(description) -> float:
  """The mean task return of the demonstrations learnt from; 0 if they are not there any more."""
  config, task, repeat = description['config'], description['task'], description['action_repeat']
  try:
    dataset = dataset_lib.load(config['demonstrations'] or dataset_lib.shipped_path(task, repeat))
  except errors.InputError:
    return 0.0
  if dataset.checksum != description['demonstrations']:
    return 0.0
  followed = runs.TrackingConfig(**config['tracking'])
  learnt, _ = tracking.divide(dataset, config['num_demonstrations'], followed)
  # Of frames, if these are to be evaluated with: MuJoCo decides on import whether it can draw.
  named = config['environment'], config['frame_size'], 1, config['actors']['placement']
  made = make_environments(task, repeat, *named)
  whole = (made if isinstance(made, environments_lib.OnDevice) else made[0]).longest_episode
  lengths = {len(episode.trajectory.actions) for episode in learnt.episodes}
  return learnt.mean_return if lengths == {whole} else 0.0


def environments_of(loaded: Loaded, count: int, task: str = '') -> list | environments_lib.OnDevice:
  """As many of the environment that the agent was trained in.

  Args:
    loaded: the agent.
    count: how many.
    task: another one of dm_control's suite, with the same observations and actions, instead.

  Raises:
    InputError: if there is no such task, or its observations or actions have another size.
  """
  description = loaded.description
  config, repeat = description['config'], description['action_repeat']
  follows, expected = bool(description['tracking']), 'a dataset, or `performing` of the agent'
  errors.check(not follows, '--demonstrations', 'none', expected)
  if not task:
    return make_environments(
      description['task'],
      repeat,
      config['environment'],
      config['frame_size'],
      count,
      config['actors']['placement'],
    )
  environments: Any = make_environments(task, repeat, '', config['frame_size'], count)
  spec = environments_lib.environment_spec(environments[0])
  for name in ('observation_size', 'action_size'):
    found, expected = getattr(spec, name), description['environment_spec'][name]
    errors.check(found == expected, f'{name} of {task}', found, f"the checkpoint's {expected}")
  return environments


def evaluate(loaded: Loaded, environments: Sequence | environments_lib.OnDevice) -> dict[str, Any]:
  """One greedy episode in each environment, always from the same initial states.

  Returns:
    The checkpoint's seed and steps; its returns, their mean and the mean's fraction of the expert's
    return, None where that is unknown or not above 0; how many episodes failed, whose returns are
    those until then.
  """
  stack = loaded.description['environment_spec']['stack']
  collected = rollout(loaded.policy, loaded.params, environments, stack)
  returns = task_returns(collected.trajectories)
  summary = summarise(returns, loaded.description['expert_return'])
  return {
    'seed': loaded.description['seed'],
    **{name: loaded.counters[name] for name in logs.COUNTERS},
    'mean_return': summary['mean_return'],
    'fraction_of_expert': summary.get('fraction_of_expert'),
    'returns': returns,
    'failed_episodes': sum(collected.failures.values()),
  }


def table(returns: Sequence[Sequence[float]], expert_return: float) -> dict[str, dict[str, float]]:
  """Returns of several runs' episodes, summed up.

  Args:
    returns: of every run's episodes.
    expert_return: what they are compared with, 0 if unknown.

  Returns:
    `return`, mean, std and min over all episodes, and `interquartile`'s; where an expert's return
    is known and above 0, the same divided by it, `fraction_of_expert`.
  """
  together = np.concatenate(returns)
  raw = {'mean': together.mean(), 'std': together.std(), 'min': together.min()}
  raw = {name: float(value) for name, value in raw.items()}
  raw |= {name.removesuffix('_return'): x for name, x in interquartile(returns).items()}
  if expert_return <= 0:
    return {'return': raw}
  fractions = {name: value / expert_return for name, value in raw.items()}
  return {'return': raw, 'fraction_of_expert': fractions}
