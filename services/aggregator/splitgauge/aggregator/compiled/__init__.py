"""The fold's calm events, compiled: an engine beside the plain one, with the same bytes."""
