"""Splits live traffic between variants and records who answered what."""
