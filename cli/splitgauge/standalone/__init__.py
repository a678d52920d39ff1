"""Splitgauge in one process on the embedded log: every role wired together, started, watched and stopped."""
