"""The flax vocabulary that agents build their networks from."""
