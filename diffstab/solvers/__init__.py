"""Gradient flow and the other ways of descent on a training set, and the one rule by which they stop."""
