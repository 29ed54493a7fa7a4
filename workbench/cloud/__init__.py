"""The three clouds, spoken to over the AWS API: clients, the stack, the embedded cloud."""
