"""``python -m mathtune``: what ``torchrun -m`` and ``accelerate launch -m`` start."""

from mathtune.cli.main import main

if __name__ == "__main__":
    main()
