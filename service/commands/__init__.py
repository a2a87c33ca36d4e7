"""The commands of `axon` beside `serve`, which cli.py puts together: what a person asks, and what is printed."""
