"""Entry point of `python -m moesort_tune`, the same as the command `moesort-tune`."""

from moesort_tune.cli.main import main

if __name__ == "__main__":
    main()
