"""A whole experiment with real models on one machine, from request to replay."""
