"""The small detector that ships with the project: its network, how it is trained and how it is scored."""
