"""Judges windows: health, guardrails, verdict; the pure analysis and the service that runs it."""
