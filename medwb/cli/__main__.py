"""python -m medwb.cli."""

from medwb.cli import main

if __name__ == "__main__":
    main()
