"""python -m talkingface"""

from talkingface.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
