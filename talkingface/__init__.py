"""talkingface: train, run and score talking-face models.

Importing this package is cheap: nothing heavier than the registry is loaded until it is used.
"""

__version__ = "0.1.0"
