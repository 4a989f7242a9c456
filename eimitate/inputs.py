"""What a run is given: environments and demonstrations, checked against each other."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from eimitate import configuration
from eimitate import environments as environments_lib
from eimitate import errors
from eimitate import evaluation
from eimitate import runs
from eimitate import types
from eimitate.demonstrations import dataset as dataset_lib
from eimitate.replay import episodes


class Inputs(NamedTuple):
  """What a run is given.

  environments: one per actor. spec: what the agent must know of them.
  dataset: the demonstrations, if any. expert_return: what returns are compared with, 0 if unknown.
  longest: agent steps of the longest episode.
  """

  environments: list
  spec: types.EnvironmentSpec
  dataset: dataset_lib.Dataset | None
  expert_return: float
  longest: int


def load(run: runs.Run) -> Inputs:
  """The demonstrations, if any, and one environment per actor.

  Raises:
    InputError: if there is no such task or dataset, or they do not fit together.
  """
  config = run.config
  repeat = environments_lib.resolve_action_repeat(
    run.task, config.action_repeat, config.environment, config.frame_size
  )
  make = lambda: environments_lib.make_environment(
    run.task, repeat, config.environment, config.frame_size
  )
  environments = [make() for _ in range(config.actors.num)]
  spec = environments_lib.environment_spec(environments[0], config.stack)
  if not config.num_demonstrations and not evaluation.AGENTS[run.agent].NEEDS_DEMONSTRATIONS:
    longest = config.replay.longest or environments[0].longest_episode
    expected = 'agent steps of the longest episode, which the environment does not tell'
    errors.check(longest > 0, 'config.replay.longest', longest, expected)
    expert_return = environments_lib.expert_return(run.task, config.frame_size)
    return Inputs(environments, spec, None, expert_return, longest)
  dataset = dataset_lib.load(config.demonstrations or dataset_lib.shipped_path(run.task, repeat))
  dataset_lib.check_matches(dataset, run.task, repeat, spec)
  dataset = dataset.take(config.num_demonstrations)
  if config.frame_size:
    # Imported here: it imports MuJoCo, which decides on import whether it can draw.
    from eimitate.demonstrations import frames

    dataset = frames.with_frames(dataset, config.frame_size)
  else:
    spec = dataset_lib.with_statistics(dataset, spec)
  recorded = max(len(episode.trajectory.actions) for episode in dataset.episodes)
  longest = config.replay.longest or recorded
  if spec.frame:
    expected = f'at most the {longest + 1} frames of an episode'
    errors.check(config.stack <= longest + 1, 'config.stack', config.stack, expected)
  return Inputs(environments, spec, dataset, dataset.mean_return, longest)


def describe(run: runs.Run, inputs: Inputs) -> dict[str, Any]:
  """Everything that rebuilds the agent, and what its results are compared with, as JSON."""
  return {
    'agent': run.agent,
    'task': run.task,
    'seed': run.seed,
    'action_repeat': inputs.environments[0].action_repeat,
    'agent_config': configuration.to_dict(run.agent_config),
    'config': configuration.to_dict(run.config),
    'demonstrations': inputs.dataset.checksum if inputs.dataset else '',
    'expert_return': inputs.expert_return,
    'environment_spec': {
      k: list(v) if isinstance(v, tuple) else v for k, v in inputs.spec._asdict().items()
    },
  }


def demonstrations_replay(inputs: Inputs) -> episodes.Replay | None:
  """All the demonstrations' episodes in a replay that just holds them."""
  if inputs.dataset is None:
    return None
  rows = [episodes.to_rows(episode.trajectory) for episode in inputs.dataset.episodes]
  replay = episodes.init(inputs.spec, sum(len(x.reward) for x in rows))
  for episode_rows in rows:
    replay = episodes.add(replay, episode_rows, jnp.int32(len(episode_rows.reward)))
  return replay
