"""Gradient flow and the other optimisers, their stop rule, Lightning tasks, and the comparison of regimes."""
