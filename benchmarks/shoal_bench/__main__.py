"""`python -m shoal_bench`."""

from shoal_bench.cli import main

if __name__ == "__main__":
    main()
