"""The command that users know: python run_talkingface.py --model=NAME --dataset=NAME [--any.key=value]"""

from talkingface.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
