"""Studies: what is to be measured."""
