"""What follows from the formulas alone."""
