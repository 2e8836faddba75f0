"""Doctor's findings."""
