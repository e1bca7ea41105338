"""`python -m alignkit`: the command line, where no script is on the path (`accelerate launch -m alignkit ...`)."""

from alignkit.cli import main

if __name__ == "__main__":
    main()
