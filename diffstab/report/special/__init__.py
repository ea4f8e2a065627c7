"""Marks that no plot of columns can show: neurons, example images, predictors on the circle, fields, forces."""
