"""Checks that fail when sample quality slips."""
