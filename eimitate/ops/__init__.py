"""Maths without parameters."""
