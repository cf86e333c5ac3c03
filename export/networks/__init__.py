"""Small public network architectures, for reference networks and for tests; exporting needs none of them."""
