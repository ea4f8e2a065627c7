"""Pages of runs on L2-regularised networks: loss against width, and forces during training."""
