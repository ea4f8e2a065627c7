"""Lightning tasks, their command line, and the runs of experiments."""
