"""`python -m moesort_tune` is the command `moesort-tune`."""

from moesort_tune.cli.main import main

if __name__ == "__main__":
    main()
