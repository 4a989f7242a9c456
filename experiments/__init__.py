"""The absl binaries."""
