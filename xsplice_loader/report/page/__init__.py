"""A load as a page for a browser: one file, which needs nothing else and asks nobody for anything."""
