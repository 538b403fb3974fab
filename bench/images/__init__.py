"""Data sets, image files and image grids."""
