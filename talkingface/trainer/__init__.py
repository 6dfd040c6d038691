"""The one training loop, for every stage of every model."""
