"""`axon predict`: a file to a running server, and its answer on standard output."""

from pathlib import Path

import click

from service.commands import client


@click.command()
@click.argument("model")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--url", default="http://127.0.0.1:8000", show_default=True, help="The server.")
@click.option("--top", default=3, show_default=True, type=click.IntRange(min=1), help="How many labels to print for a row.")
@click.option("--key-file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="File that holds an API key.")
def predict(model: str, file: Path, url: str, top: int, key_file: Path | None) -> None:
    """Send FILE to MODEL of a running server and print what it answers.

    FILE is JSON (a row, a list of rows, or an object of named values), a picture (.png, .jpg), arrays (.npy, .npz), or a table
    (.parquet, .arrows).
    """
    key = None if key_file is None else client.read_key(key_file)
    for line in client.predict(url, model, file, top=top, key=key):
        click.echo(line)
