"""ADAPTERS: golden case -> function(case) -> {output: array}; one for each case, through the code that users run."""

from tests.parity import adapters_syncnet, adapters_wav2lip

ADAPTERS = {**adapters_wav2lip.ADAPTERS, **adapters_syncnet.ADAPTERS}
