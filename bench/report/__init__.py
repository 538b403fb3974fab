"""The report of a study, made from the store alone: sections say blocks, renderers turn blocks into files."""
