"""`python -m mmtuna` is `mmtuna`."""

from mmtuna.search.cli import main

if __name__ == "__main__":
    main()
