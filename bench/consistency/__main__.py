"""`python -m roam.bench.consistency`: the commands of commands.py."""

from .commands import main

if __name__ == "__main__":
    main()
