"""Folds observations into exact totals per unit, variant and metric."""
