"""What events, workloads and experiments look like: the contract that everything else imports."""
