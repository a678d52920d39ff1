"""Replay, export and import: makes every analysis and decision again and compares."""
