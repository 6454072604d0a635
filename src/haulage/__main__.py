"""`python -m haulage` is the command line."""

from haulage.infra.cli import main

main()
