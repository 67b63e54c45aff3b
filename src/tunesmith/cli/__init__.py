"""The commands. Each module has `main(arguments) -> exit code`, and runs as `python -m tunesmith.cli.NAME` too."""
