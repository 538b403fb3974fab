"""Devices, clocks, memory, and where a number comes from."""
