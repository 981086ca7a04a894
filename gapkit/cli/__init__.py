"""The gapkit command."""
