"""Golden cases of syncnet."""

ADAPTERS: dict = {}
