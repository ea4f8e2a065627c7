"""The figures and tables of the sources, each drawn from the results folders of the stages it needs."""
