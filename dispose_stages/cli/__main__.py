"""``python -m dispose_stages.cli`` is ``dispose``."""

from dispose_stages.cli import main

if __name__ == "__main__":
    main()
