"""One module a question: what the notebooks and benchmarks run."""
