"""Reading, checking and preflight of configs."""
