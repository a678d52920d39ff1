"""What decisions mean: the state of workloads and experiments as a pure fold, assignment, lifecycle."""
