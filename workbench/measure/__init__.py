"""Times, intervals and where they come from. See the module docstrings for each rule."""
