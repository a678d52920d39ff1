"""All roles in one process, on the embedded log."""
