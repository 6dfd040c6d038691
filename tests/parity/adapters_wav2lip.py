"""Golden cases of wav2lip."""

ADAPTERS: dict = {}
