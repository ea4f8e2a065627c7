"""Image data sets as LightningDataModules that hold their tensors in memory."""
