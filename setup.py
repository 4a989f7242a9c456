"""Packaging; versions are ranges here and exact in requirements.txt."""

import pathlib
import re

import setuptools

_ROOT = pathlib.Path(__file__).parent
_VERSION = re.search(r"__version__ = '(.*)'", (_ROOT / 'eimitate/__init__.py').read_text())[1]

setuptools.setup(
  name='eimitate',
  version=_VERSION,
  description='Imitation learning in JAX: EfficientImitate and MetaMimic as pure functions.',
  long_description=(_ROOT / 'README.md').read_text(),
  long_description_content_type='text/markdown',
  license='Apache-2.0',
  python_requires='>=3.11',
  packages=setuptools.find_packages(include=['eimitate*', 'experiments*']),
  package_data={'eimitate.demonstrations': ['data/*.npz']},
  install_requires=[
    'jax>=0.10.2,<0.13',
    'jaxlib>=0.10.2,<0.13',
    'flax>=0.12.8,<0.13,!=0.12.11',
    'optax>=0.2.8,<0.3',
    'mctx>=0.0.71',
    'chex>=0.1.92',
    'orbax-checkpoint>=0.12.8,<0.13',
    'dm_control>=1.0.50',
    'dm_env>=1.6',
    'mujoco>=3.17.0,<4',
    'brax>=0.14.2,<0.15',
    'absl-py>=2.3.1',
    'numpy>=2.2,<3',
    'ml_collections>=1.1',
    'tensorboardX>=2.6.5',
    'tqdm',
    'matplotlib>=3.10',
    'pillow',
  ],
  extras_require={
    'data': ['h5py>=3.12'],
    # Asks for more than its environments need here: pip install --no-deps is enough.
    'playground': ['playground>=0.2,<0.3'],
    'gpu': ['jax[cuda13]'],
    'video': ['imageio-ffmpeg>=0.6'],
    'plot': ['scikit-learn>=1.6'],
    'notebooks': ['jupytext>=1.16', 'ipykernel', 'nbclient'],
    'ray': ['ray>=2.50'],
    'dev': ['pytest', 'pytest-xdist', 'hypothesis', 'ruff', 'pyrefly', 'rlax', 'scipy>=1.15'],
  },
  classifiers=[
    'Programming Language :: Python :: 3.11',
    'Programming Language :: Python :: 3.12',
  ],
)
