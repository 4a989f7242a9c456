"""What the binaries' --config holds."""
