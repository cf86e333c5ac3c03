"""What a run knows of its own accuracy: against labels where the source has them, else by signs of drift."""
