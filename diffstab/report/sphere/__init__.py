"""Exponents of learning curves on the sphere."""
