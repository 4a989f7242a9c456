"""Where rewards come from: interchangeable modules of pure functions."""
