"""`python -m spanmask`: the command line."""

from spanmask.cli import main

if __name__ == "__main__":
    main()
