"""The web view of a run: read-only pages, live pictures, metrics and health, served beside the loop."""
