"""The feature regime on the sphere by training, and learning curves over dimension, smoothness and n."""
