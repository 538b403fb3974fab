"""One job: train, sample, score."""
