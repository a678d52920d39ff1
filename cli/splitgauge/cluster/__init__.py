"""Splitgauge on Kafka and PostgreSQL: one process with one role or several, as many processes as wanted."""
