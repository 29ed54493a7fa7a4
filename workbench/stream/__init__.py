"""Events into Kinesis on a schedule, and batches out of it into the function."""
