"""Jittable ring buffers."""
