"""The report as one HTML file: the blocks as they are, and a part that answers questions in the browser."""
