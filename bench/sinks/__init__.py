"""Who shows or records what a run says."""
